"""The reaper's memory on disk: what was started, with which pid, and how it ended."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from mythjobs.process.procfs import AttemptKey
from mythjobs.process.supervise.loop import log

# Emptied when nothing in it matters any more and it has this size; written anew with what
# matters when it has the other, and most of it does not. If that cannot be done it is tried
# again when so much has been added.
_EMPTIED_AT: Final = 256 * 1024
_RENEWED_AT: Final = 16 * 2**20
_MORE: Final = 2**20


class ReaperJournal:
    """Appends lines; a thread makes them durable, all that have come with one fdatasync.

    `synced` is called from that thread with the number of the last end that is durable,
    `failed` once when the disk failed: until it is written anew (renew) nothing is durable.
    """

    def __init__(
        self, path: str, first: str, synced: Callable[[int], None], failed: Callable[[], None]
    ) -> None:
        self._path = path
        self._first = first
        self._synced = synced
        self._failed = failed
        # What is in the file may be gone after a power cut, whatever a later sync says.
        self.is_broken = False
        self._lines: list[str] = [first]
        self._unwritten = b""
        self._size = 0
        # The sizes at which it is worth while to try to empty it, and to write it anew.
        self._emptied_at = _EMPTIED_AT
        self._renewed_at = _RENEWED_AT
        self._wanted: SimpleQueue[int | None] = SimpleQueue()
        # Held while the file is synced or replaced.
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._thread = threading.Thread(target=self._keep_syncing, name="journal", daemon=True)
        self._thread.start()

    def append(self, line: str) -> None:
        self._lines.append(line)

    def write(self) -> None:
        """All lines since the last time, at once. They survive our death, not a power cut.

        Raises OSError if the disk does not take them; they are kept and tried again next time.
        """
        if not self._lines and not self._unwritten:
            return
        self._lines.append("")
        data = self._unwritten + "\n".join(self._lines).encode("ascii")
        self._lines.clear()
        try:
            while data:
                done = os.write(self._fd, data)
                self._size += done
                data = data[done:]
        finally:
            self._unwritten = data

    def request_sync(self, seq: int) -> None:
        """Make what is written durable, then say so with this number."""
        self._wanted.put(seq)

    def compact(self, encode_records: Callable[[], list[str]], is_idle: bool) -> None:
        """Forget what was acknowledged, if it is worth while. All that was appended must be
        written; `lines` gives what is still to be said, `empty` says that it is nothing.

        Raises OSError if the disk does not allow it: then it is as it was, unless it is
        `broken` now, and is not tried again before more has been added.
        """
        if self.is_broken:
            return
        if is_idle and self._size > self._emptied_at:
            self._emptied_at = self._size + _MORE
            self._empty()
        elif self._size > self._renewed_at:
            self._renewed_at = self._size + _MORE
            data = self._anew(encode_records())
            if len(data) * 2 <= self._size:
                self._replace(data)
            else:
                # It is much to go through, and in vain until most of it is acknowledged.
                self._renewed_at = 2 * len(data)

    def _empty(self) -> None:
        with self._lock:
            os.ftruncate(self._fd, 0)
        self._size_is(0)
        self._lines.append(self._first)
        self.write()

    def _size_is(self, size: int) -> None:
        self._size = size
        self._emptied_at = _EMPTIED_AT
        self._renewed_at = _RENEWED_AT

    def _anew(self, lines: list[str]) -> bytes:
        return "\n".join([self._first, *lines, ""]).encode("ascii")

    def rewrite(self, records: list[str]) -> None:
        """Another file with what matters, whole and durable. Raises OSError."""
        self._replace(self._anew(records))
        self._lines.clear()
        self._unwritten = b""

    def _replace(self, data: bytes) -> None:
        new = self._path + ".new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(fd)
            with self._lock:
                os.rename(new, self._path)
                fd, self._fd = self._fd, fd
                self._size_is(len(data))
                # Until the name is durable too, a power cut brings the old file back.
                self.is_broken = True
                _sync_directory(os.path.dirname(self._path))
                self.is_broken = False
        except OSError:
            with suppress(OSError):
                os.unlink(new)
            raise
        finally:
            os.close(fd)

    def close(self) -> None:
        self._wanted.put(None)
        self._thread.join()
        os.close(self._fd)

    def _keep_syncing(self) -> None:
        last = False
        while not last and (seq := self._wanted.get()) is not None:
            while not last and not self._wanted.empty():
                later = self._wanted.get()
                last = later is None
                seq = seq if later is None else later
            if self._sync_once():
                self._synced(seq)

    def _sync_once(self) -> bool:
        with self._lock:
            if self.is_broken:
                return False
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                log(f"the journal could not be made durable: {error}")
                # What the kernel dropped here it will not write again, and will not say so
                # twice (fsync(2), and PostgreSQL's experience): this file is not to be trusted.
                self.is_broken = True
        if self.is_broken:
            self._failed()
        return not self.is_broken


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader of an attempt: its pid, and the milliseconds of CLOCK_BOOTTIME between which
    it was born. A process with this pid born at another time is a stranger."""

    pid: int
    born_after_ms: int
    born_before_ms: int
    started_ms: int


@dataclass(slots=True)
class JournalState:
    """What a journal says of attempts that are not acknowledged.

    `open`: started and not ended as far as is known; None if perhaps it never came to be.
    `ends`: as in the message `ended`.
    """

    reaper: dict[str, Any] = field(default_factory=dict)
    unfinished: dict[AttemptKey, Leader | None] = field(default_factory=dict)
    ended: dict[AttemptKey, dict[str, Any]] = field(default_factory=dict)


def read_journal(path: str | os.PathLike[str]) -> JournalState:
    """Of a reaper that is dead. A last line that was torn by a power cut is left out."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return JournalState()
    return parse_journal(data.split(b"\n"))


def parse_journal(lines: Iterable[bytes]) -> JournalState:
    records = JournalState()
    for line in lines:
        try:
            record = json.loads(line)
            _take(records, record)
        except (ValueError, LookupError, TypeError):
            continue
    return records


def _take(records: JournalState, record: dict[str, Any]) -> None:
    if "start" in record:
        job, n = record["start"]
        records.unfinished[job, n] = None
    elif "pid" in record:
        job, n, pid, after_ms, before_ms, at_ms = record["pid"]
        records.unfinished[job, n] = Leader(pid, after_ms, before_ms, at_ms)
    elif "end" in record:
        end = record["end"]
        key = (end["job"], end["n"])
        records.ended[key] = end
        records.unfinished.pop(key, None)
    elif "ack" in record:
        for job, n in record["ack"]:
            records.ended.pop((job, n), None)
            records.unfinished.pop((job, n), None)
    elif "reaper" in record:
        records.reaper = record["reaper"]
