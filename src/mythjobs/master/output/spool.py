"""Output spool: the master's directory of files with ended attempts' kept output.

An interrupted copy of a file can be resumed; complete files are synced in groups.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.config import files
from mythjobs.model.output_window import OutputWindow

log = logging.getLogger(__name__)

READ_BYTES: Final = 256 * 1024
# From this number of files on, one syncfs replaces an fsync of each. One fsync of a small new
# file costs 0.5 to 1 ms and forces a commit of the file system's journal. 100 of them cost 70 to
# 90 ms (measured), one syncfs for all of them 3 to 18 ms. syncfs also waits for other programs'
# writes, so it pays only for several files.
_MIN_SYNCFS_FILES: Final = 8


class OutputKey(NamedTuple):
    """Key of one output stream (1 stdout, 2 stderr) of attempt n of a job."""

    job: int
    n: int
    stream: int


@dataclass
class PartialFile:
    """A spool file that is being filled; `size` is the number of bytes written so far."""

    key: OutputKey
    path: Path
    fd: int
    size: int

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, self.size)
            self.size += written
            view = view[written:]

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class OutputSpool:
    """The directory with the spool files.

    All methods block, so they are called in threads; only one thread writes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, exist_ok=True)

    def path(self, key: OutputKey) -> Path:
        return self._root / str(key.job // 1000) / f"{key.job}.{key.n}.{key.stream}"

    def find_window(self, key: OutputKey, window: OutputWindow) -> OutputWindow | None:
        """Return the window of the bytes that the spool has of a stream, None if it has no file.

        Less than `window` is left of a damaged file. The tail counts as lost then.
        """
        try:
            size = self.path(key).stat().st_size
        except FileNotFoundError:
            return None
        expected = window.head + window.tail
        if size >= expected:
            return window
        log.error("%s has %d of %d bytes: its disk has lost them", self.path(key), size, expected)
        return OutputWindow(window.written, min(size, window.head), 0)

    def open_partial(self, key: OutputKey, kept_bytes: int) -> PartialFile | None:
        """Open a stream's partial file, which may have bytes from an earlier connection.

        Return None if the spool already has the complete stream.
        """
        path = self.path(key)
        if path.exists():
            return None
        if not path.parent.is_dir():
            self._root.mkdir(mode=0o700, exist_ok=True)  # a user may have deleted it
            path.parent.mkdir(mode=0o700, exist_ok=True)
            files.sync_directory(self._root)
        fd = os.open(f"{path}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size > kept_bytes:
            # The file has more bytes than the agent offers, so they are of other output: empty it.
            os.ftruncate(fd, 0)
            size = 0
        return PartialFile(key, path, fd, size)

    def commit(self, partials: Sequence[PartialFile]) -> None:
        """Make complete files durable under their final names, and close them."""
        _sync_files(partials)
        for partial in partials:
            os.rename(f"{partial.path}.part", partial.path)
            partial.close()
        for directory in {partial.path.parent for partial in partials}:
            files.sync_directory(directory)

    def read_chunks(self, key: OutputKey, at: int, size: int) -> Iterator[bytes]:
        """Yield `size` bytes of a file from offset `at`. Raises FileNotFoundError if it does not
        exist."""
        with open(self.path(key), "rb", buffering=0) as file:
            file.seek(at)
            while data := file.read(min(READ_BYTES, size)):
                size -= len(data)
                yield data

    def discard_partial(self, key: OutputKey) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path(key)}.part")

    def remove(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Delete the output of attempts (job id, attempt number), and empty directories."""
        paths = [self.path(OutputKey(job, n, stream)) for job, n in attempts for stream in (1, 2)]
        for path in paths:
            with suppress(FileNotFoundError):
                os.unlink(path)
        for directory in {path.parent for path in paths}:
            with suppress(OSError):  # the directory has other files, or does not exist
                os.rmdir(directory)


def _sync_files(partials: Sequence[PartialFile]) -> None:
    if len(partials) >= _MIN_SYNCFS_FILES and _syncfs(partials[0].fd):
        return
    for partial in partials:
        os.fsync(partial.fd)


def _syncfs(fd: int) -> bool:
    """Sync the file system of `fd` with syncfs(2), which reports write-back errors since Linux 5.8.

    Return False on any error; the caller then calls fsync for each file.
    """
    try:
        return bool(ctypes.CDLL(None).syncfs(fd) == 0)
    except (AttributeError, OSError):
        return False
