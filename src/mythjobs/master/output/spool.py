"""The kept output of attempts as files: resumed where they broke off, made durable in groups."""

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
# One fsync of a small new file costs 0.5 to 1 ms here and each forces a commit of the file
# system's journal; 100 of them cost 70 to 90 ms, one syncfs for all of them 3 to 18 ms.
# It also waits for what others have written, so it has to pay.
_MANY: Final = 8


class Key(NamedTuple):
    """One stream (1 stdout, 2 stderr) of attempt n of a job."""

    job: int
    n: int
    stream: int


@dataclass
class Part:
    """A file that is being filled; `size` is how much of it is there."""

    key: Key
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


class Spool:
    """Blocking, all of it: called from threads. One thread alone writes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, exist_ok=True)

    def path(self, key: Key) -> Path:
        return self._root / str(key.job // 1000) / f"{key.job}.{key.n}.{key.stream}"

    def has(self, key: Key) -> bool:
        return self.path(key).exists()

    def begin(self, key: Key, kept: int) -> Part | None:
        """The file to be filled, with what an earlier connection brought; None if all is there."""
        path = self.path(key)
        if path.exists():
            return None
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            files.sync_directory(self._root)
        fd = os.open(f"{path}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size > kept:
            # What is there belongs to another offer, so nothing of it can be trusted.
            os.ftruncate(fd, 0)
            size = 0
        return Part(key, path, fd, size)

    def settle(self, parts: Sequence[Part]) -> None:
        """Make full files durable under their names, and close them."""
        _sync(parts)
        for part in parts:
            os.rename(f"{part.path}.part", part.path)
            part.close()
        for directory in {part.path.parent for part in parts}:
            files.sync_directory(directory)

    def chunks(self, key: Key, at: int) -> Iterator[bytes]:
        """The file's bytes from `at`. Raises FileNotFoundError if it is not there."""
        with open(self.path(key), "rb", buffering=0) as file:
            file.seek(at)
            while data := file.read(READ_BYTES):
                yield data

    def forget(self, key: Key) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path(key)}.part")

    def remove(self, attempts: Sequence[tuple[int, int]]) -> None:
        """The kept output of these attempts (job, n) goes."""
        for job, n in attempts:
            for stream in (1, 2):
                with suppress(FileNotFoundError):
                    os.unlink(self.path(Key(job, n, stream)))


def _sync(parts: Sequence[Part]) -> None:
    if len(parts) >= _MANY and _syncfs(parts[0].fd):
        return
    for part in parts:
        os.fsync(part.fd)


def _syncfs(fd: int) -> bool:
    """syncfs(2) reports the errors of writing back since Linux 5.8; fsync stays the judge."""
    try:
        return bool(ctypes.CDLL(None).syncfs(fd) == 0)
    except (AttributeError, OSError):
        return False
