"""Append-only log: a file of JSON records, one per line, with fsync and atomic rewrite."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class FileSystem(Protocol):
    """The system calls of a log: those of the module `os`, or of a simulated disk."""

    def open(self, path: str, flags: int, mode: int = ..., /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def write(self, fd: int, data: bytes | memoryview, /) -> int: ...
    def fstat(self, fd: int, /) -> os.stat_result: ...
    def fsync(self, fd: int, /) -> None: ...
    def fdatasync(self, fd: int, /) -> None: ...
    def ftruncate(self, fd: int, length: int, /) -> None: ...
    def rename(self, source: str, target: str, /) -> None: ...
    def unlink(self, path: str, /) -> None: ...


OPERATING_SYSTEM: Final[FileSystem] = os


class LogBroken(OSError):
    """An earlier fsync of the log failed, so records may be lost. Only rewrite() makes the log
    durable again."""


class RecordLog:
    """Log file open for appending. One thread appends; sync() and rewrite() may run in another.

    Records are passed as bytes that consist of whole lines. append() never waits for an fsync.
    """

    def __init__(self, path: str | os.PathLike[str], files: FileSystem = OPERATING_SYSTEM) -> None:
        self._path = os.fspath(path)
        self._os = files
        self._fd = files.open(self._path, _FLAGS, 0o600)
        self.size_bytes = files.fstat(self._fd).st_size
        # True after an fsync has failed: a power failure may lose records of the file, even if a
        # later fsync succeeds.
        self.is_broken = False
        self._unwritten = b""
        self._appended: list[bytes] | None = None
        # Lock held while the file is written or replaced.
        self._append_lock = threading.Lock()
        # Lock held while the file is synced or replaced. A thread that needs both locks takes
        # _sync_lock first, so that two threads cannot deadlock.
        self._sync_lock = threading.Lock()

    @property
    def fd(self) -> int:
        """Descriptor of the file, until the next rewrite()."""
        return self._fd

    def append(self, data: bytes) -> None:
        """Write records to the file. They survive a crash of the process, but a power failure only
        after sync().

        Raises OSError. The next call first writes the bytes that this call could not write.
        """
        with self._append_lock:
            if self._appended is not None:
                self._appended.append(data)
            data = self._unwritten + data
            done = 0
            try:
                while done < len(data):
                    size = self._os.write(self._fd, data[done:] if done else data)
                    self.size_bytes += size
                    done += size
            finally:
                self._keep_unwritten(data, done)

    def _keep_unwritten(self, data: bytes, done: int) -> None:
        # Write a line again that was written in part: others may append to the file, too.
        begin = data.rfind(b"\n", 0, done) + 1
        self._unwritten = b"\n" + data[begin:] if begin < done else data[done:]

    def begin_append(self, data: bytes) -> bytes | None:
        """Let the caller append to the file and sync it by other means, and exclude all other use
        until end_append(). Return the bytes to append. None if another thread uses the log, or if
        it is broken."""
        if not self._sync_lock.acquire(blocking=False):
            return None
        if not self.is_broken and self._append_lock.acquire(blocking=False):
            if self._appended is None:
                return self._unwritten + data
            self._append_lock.release()
        self._sync_lock.release()
        return None

    def end_append(self, data: bytes, done: int, *, is_broken: bool) -> None:
        """End an append: of the bytes that begin_append() returned, `done` were written.
        `is_broken`: the sync failed."""
        self.size_bytes += done
        self._keep_unwritten(data, done)
        self.is_broken = is_broken
        self._append_lock.release()
        self._sync_lock.release()

    def sync(self) -> None:
        """Make all written records durable. Raises OSError if the fsync fails, and LogBroken if an
        earlier one has failed."""
        with self._sync_lock:
            if self.is_broken:
                raise LogBroken(errno.EIO, f"an earlier fsync of {self._path} failed")
            try:
                self._os.fdatasync(self._fd)
            except OSError:
                # Remember the failure, as a later fsync may succeed although data is lost: the
                # kernel drops pages that it could not write, and reports the error only once
                # (fsync(2); PostgreSQL wiki, "Fsync Errors").
                self.is_broken = True
                raise

    def truncate(self) -> None:
        """Remove all records. Raises OSError."""
        with self._sync_lock:
            self._os.ftruncate(self._fd, 0)
        self.size_bytes = 0

    def begin_rewrite(self) -> None:
        """Announce a rewrite() in another thread: keep a copy of the records appended from now on,
        which rewrite() adds to the new file."""
        self._appended = []

    def rewrite(self, data: bytes) -> None:
        """Replace all records durably by `data` and the records appended since begin_rewrite().

        Raises OSError. The old file is still in place then, unless is_broken is True.
        """
        new = self._path + ".new"
        fd = self._os.open(new, _FLAGS | os.O_TRUNC, 0o600)
        try:
            self._write_all(fd, data)
            self._os.fsync(fd)
            with self._sync_lock:
                with self._append_lock:
                    # Append to the new file before it replaces the old one: at every instant a
                    # reader of the path must find all records.
                    appended = b"".join(self._appended or ())
                    self._write_all(fd, appended)
                    self._os.rename(new, self._path)
                    fd, self._fd = self._fd, fd
                    self.size_bytes = len(data) + len(appended)
                    self._appended, self._unwritten = None, b""
                # The log counts as broken until the rename is durable: a power failure before then
                # brings the old file back.
                self.is_broken = True
                if appended:
                    self._os.fdatasync(self._fd)
                self._sync_directory(os.path.dirname(self._path))
                self.is_broken = False
        except BaseException:
            with self._append_lock:
                self._appended = None
            with suppress(OSError):
                self._os.unlink(new)
            raise
        finally:
            self._os.close(fd)

    def close(self) -> None:
        self._os.close(self._fd)

    def _write_all(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._os.write(fd, view) :]

    def _sync_directory(self, path: str) -> None:
        fd = self._os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._os.fsync(fd)
        finally:
            self._os.close(fd)


def read_records(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of a log file; no records if the file is missing. Raises OSError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    yield from parse_records(data.split(b"\n"))


def parse_records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the records in `lines`. Skip lines that are not a JSON object: a power failure can tear
    a line."""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
