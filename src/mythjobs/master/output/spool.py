"""Output spool: files of ended attempts' kept output, resumable and synced in groups."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.config import files

READ_BYTES: Final = 256 * 1024
# One fsync of a small new file costs 0.5 to 1 ms and forces a commit of the file system's journal.
# 100 of them cost 70 to 90 ms (measured), one syncfs for all of them 3 to 18 ms. syncfs also waits
# for other programs' writes, so it pays only for several files.
_MIN_SYNCFS_FILES: Final = 8


class OutputKey(NamedTuple):
    """One stream (1 stdout, 2 stderr) of attempt n of a job."""

    job: int
    n: int
    stream: int


@dataclass
class PartialFile:
    """A file that is being filled; `size` is the number of bytes written so far."""

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
    """All methods block and are called in threads; only one thread writes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, exist_ok=True)

    def path(self, key: OutputKey) -> Path:
        return self._root / str(key.job // 1000) / f"{key.job}.{key.n}.{key.stream}"

    def contains(self, key: OutputKey) -> bool:
        return self.path(key).exists()

    def open_partial(self, key: OutputKey, kept_bytes: int) -> PartialFile | None:
        """Open the file to be filled, with the bytes of an earlier connection; None if complete."""
        path = self.path(key)
        if path.exists():
            return None
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            files.sync_directory(self._root)
        fd = os.open(f"{path}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size > kept_bytes:
            # The bytes belong to a different offer, so none of them can be trusted.
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

    def read_chunks(self, key: OutputKey, at: int) -> Iterator[bytes]:
        """Yield the file's bytes from `at`. Raises FileNotFoundError if there is no such file."""
        with open(self.path(key), "rb", buffering=0) as file:
            file.seek(at)
            while data := file.read(READ_BYTES):
                yield data

    def discard_partial(self, key: OutputKey) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path(key)}.part")

    def remove(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Delete the output of these attempts (job, n)."""
        for job, n in attempts:
            for stream in (1, 2):
                with suppress(FileNotFoundError):
                    os.unlink(self.path(OutputKey(job, n, stream)))


def _sync_files(partials: Sequence[PartialFile]) -> None:
    if len(partials) >= _MIN_SYNCFS_FILES and _syncfs(partials[0].fd):
        return
    for partial in partials:
        os.fsync(partial.fd)


def _syncfs(fd: int) -> bool:
    """Call syncfs(2); False on any error, so that fsync decides.

    syncfs(2) reports write-back errors since Linux 5.8.
    """
    try:
        return bool(ctypes.CDLL(None).syncfs(fd) == 0)
    except (AttributeError, OSError):
        return False
