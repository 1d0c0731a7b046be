"""Room kept back on the store's disk, so that what runs can be finished when it is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final


class DiskReserve:
    """A file of `size` bytes. Dropped once the disk is full, made again when there is room."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def allocate(self) -> bool:
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
            self.release()
            return False
        finally:
            os.close(fd)
        return True

    def _there(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == self._size

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def release(self) -> bool:
        """Whether that made room."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True


# Locks and fsync of these are somebody else's word; SQLite's manual warns of them.
_REMOTE: Final = frozenset(
    ("9p", "afs", "ceph", "cifs", "coda", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
)


def find_network_file_system(
    directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")
) -> str:
    """The kind of network (or FUSE) file system that a directory is on; empty if it is on none.

    Source: proc(5), /proc/pid/mountinfo: the third field is the device, the first behind the
    single dash the kind.
    """
    try:
        device = os.stat(directory).st_dev
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return ""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    for line in lines:
        fields = line.split()
        if fields[2] == number:
            kind = fields[fields.index(b"-") + 1].decode(errors="replace")
            return kind if kind in _REMOTE or kind.split(".")[0] == "fuse" else ""
    return ""
