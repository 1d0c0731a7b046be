"""Model of a machine's disk: written data survive a kill, synced data survive a power cut.

After a failed sync, data that it was to write are only in memory: no later sync writes them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.simulator import Simulator

_SYNC_MS: Final = 6


class SimDisk:
    """State shared by all files of a machine."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.full_faults = 0  # active faults that fill the disk
        self.failing_faults = 0  # active faults that make each sync fail
        self.extra_sync_ms = 0
        self.files = SimFiles(self)

    def draw_sync_ms(self) -> int:
        return self.extra_sync_ms + self.sim.random.randrange(_SYNC_MS)

    def check_write(self) -> None:
        """Raises OSError if the disk is full."""
        if self.full_faults:
            raise OSError(errno.ENOSPC, "No space left on device")

    def check_sync(self) -> None:
        """Raises OSError if the disk fails."""
        if self.failing_faults:
            raise OSError(errno.EIO, "Input/output error")


class AppendOnlyFile:
    """File of lines on a SimDisk."""

    def __init__(self, disk: SimDisk, first_line: bytes = b"") -> None:
        """`first_line` is durable, as in a file that was renamed into place."""
        self.disk = disk
        self.lines = [first_line] if first_line else []
        self._durable_lines = len(self.lines)

    def append(self, line: bytes) -> None:
        """Raises OSError if the disk is full."""
        self.disk.check_write()
        self.lines.append(line)

    def sync(self, on_synced: Callable[[OSError | None], object]) -> None:
        """Call `on_synced` when the lines written until now are durable, or with the error."""
        count = len(self.lines)
        self.disk.sim.call_later(self.disk.draw_sync_ms(), self._synced, count, on_synced)

    def _synced(self, count: int, on_synced: Callable[[OSError | None], object]) -> None:
        try:
            self.disk.check_sync()
        except OSError as error:
            on_synced(error)
            return
        self._durable_lines = max(self._durable_lines, min(count, len(self.lines)))
        on_synced(None)

    def cut_power(self, random: Random | None) -> None:
        """Keep durable lines and a random prefix of the rest; none of the rest without `random`."""
        durable = self._durable_lines
        kept = random.randint(durable, len(self.lines)) if random else durable
        self.lines = self.lines[:kept]
        self._durable_lines = len(self.lines)

    def read_bytes(self) -> bytes:
        return b"".join(self.lines)


class _File:
    """Content of a file that is only appended to. The first `durable` bytes are on the disk."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = 0
        self.has_lost = False  # a sync failed, so bytes from `durable` on never become durable


class SimFiles:
    """System calls for logs on a SimDisk: a FileSystem for RecordLog."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._files: dict[str, _File] = {}
        # Directory entries on the disk: a rename is durable once the directory is synced.
        self._durable_files: dict[str, _File] = {}
        self._open: dict[int, _File | None] = {}  # None: a directory
        self._next_fd = 3

    def open(self, path: str, flags: int, _mode: int = 0, /) -> int:
        self._next_fd += 1
        if flags & os.O_DIRECTORY:
            self._open[self._next_fd] = None
            return self._next_fd
        if path not in self._files or flags & os.O_TRUNC:
            self._disk.check_write()
            self._files[path] = _File()
        self._open[self._next_fd] = self._files[path]
        return self._next_fd

    def close(self, fd: int, /) -> None:
        del self._open[fd]

    def write(self, fd: int, data: bytes | memoryview, /) -> int:
        self._disk.check_write()
        self._file(fd).data += data
        return len(data)

    def fstat(self, fd: int, /) -> os.stat_result:
        return os.stat_result((0, 0, 0, 0, 0, 0, len(self._file(fd).data), 0, 0, 0))

    def fsync(self, fd: int, /) -> None:
        if self._open[fd] is None:
            self._disk.check_sync()
            self._durable_files = dict(self._files)
        else:
            self.fdatasync(fd)

    def fdatasync(self, fd: int, /) -> None:
        file = self._file(fd)
        try:
            self._disk.check_sync()
        except OSError:
            file.has_lost = True
            raise
        if not file.has_lost:
            file.durable = len(file.data)

    def ftruncate(self, fd: int, length: int, /) -> None:
        file = self._file(fd)
        del file.data[length:]
        file.durable = min(file.durable, length)

    def rename(self, source: str, target: str, /) -> None:
        self._files[target] = self._files.pop(source)

    def unlink(self, path: str, /) -> None:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        del self._files[path]

    def _file(self, fd: int) -> _File:
        file = self._open[fd]
        assert file is not None
        return file

    # Besides the calls of a FileSystem.

    def read(self, path: str) -> bytes:
        """Return the content of a file; b"" if it is missing."""
        file = self._files.get(path)
        return bytes(file.data) if file else b""

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        self._files.pop(path, None)
        self._durable_files.pop(path, None)

    def sync(self, path: str) -> None:
        """Make the content of a file durable."""
        if (file := self._files.get(path)) is not None and not file.has_lost:
            file.durable = len(file.data)

    def cut_power(self, random: Random | None) -> None:
        """Keep durable bytes and a random prefix of the rest; none of the rest without `random`."""
        if random is None or random.random() < 0.5:
            # New files are found: ext4 writes the entry of a new file at its first fsync.
            self._files = {**self._files, **self._durable_files}
        self._open.clear()
        for file in self._files.values():
            kept = random.randint(file.durable, len(file.data)) if random else file.durable
            del file.data[kept if not file.has_lost else file.durable :]
            file.durable, file.has_lost = len(file.data), False
        self._durable_files = dict(self._files)
