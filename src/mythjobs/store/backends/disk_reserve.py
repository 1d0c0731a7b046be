"""Room kept back on the store's disk, so that what runs can be finished when it is full."""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes. Dropped once the disk is full, made again when there is room."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def make(self) -> bool:
        """Whether it is there, whole."""
        try:
            # As much again must be free: dropping it is no room to come back for.
            if not self._there() and self._free() < 2 * self._size:
                return False
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            # Reserved blocks, not a hole: a hole would be no room.
            os.posix_fallocate(fd, 0, self._size)
        except OSError:
            self.drop()
            return False
        finally:
            os.close(fd)
        return True

    def _there(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == self._size

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def drop(self) -> bool:
        """Whether that made room."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
