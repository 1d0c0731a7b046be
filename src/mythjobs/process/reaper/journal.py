"""Journal of a reaper: a durable record of started attempts, their pids, and their ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from mythjobs.process.event_loop import log
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.record_log import LogBroken, RecordLog, parse_records, read_records

# Sizes above which an idle reaper empties its journal, and above which a busy one rewrites it if
# less than half of it is live. After a failure it is tried again when the file has grown.
_TRUNCATE_ABOVE_BYTES: Final = 256 * 1024
_REWRITE_ABOVE_BYTES: Final = 16 * 2**20
_RETRY_GROWTH_BYTES: Final = 2**20


class ReaperJournal:
    """Writes records once a turn; a thread syncs them, all pending requests with one fdatasync.

    That thread calls `on_synced` with the number of the last durable end, and `on_failed` once
    after a failed sync; then nothing is durable before rewrite().
    """

    def __init__(
        self,
        path: str,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> None:
        self._header = header
        self._on_synced = on_synced
        self._on_failed = on_failed
        self._records: list[str] = [header]
        self._file = RecordLog(path)
        self._truncate_above = _TRUNCATE_ABOVE_BYTES
        self._rewrite_above = _REWRITE_ABOVE_BYTES
        self._sync_requests: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run_syncs, name="journal", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether a power failure may lose records, even if a later fsync succeeds."""
        return self._file.is_broken

    def append(self, record: str) -> None:
        self._records.append(record)

    def write(self) -> None:
        """Write all appended records at once. They survive a crash, but not a power failure.

        Raises OSError; the next call writes what was not written.
        """
        records, self._records = self._records, []
        self._file.append(_encode(records))

    def request_sync(self, seq: int) -> None:
        """Make written records durable in the thread, then report `seq`."""
        self._sync_requests.put(seq)

    def compact(self, encode_records: Callable[[], list[str]], is_idle: bool) -> None:
        """Drop acknowledged attempts if the journal is large. All records must be written.

        `encode_records` returns the live records; there are none if `is_idle`. Raises OSError;
        the journal is then unchanged or `is_broken`, and is compacted after it has grown.
        """
        size = self._file.size_bytes
        if self.is_broken:
            return
        if is_idle and size > self._truncate_above:
            self._truncate_above = size + _RETRY_GROWTH_BYTES
            self._file.truncate()
            self._reset_thresholds()
            self.append(self._header)
            self.write()
        elif size > self._rewrite_above:
            self._rewrite_above = size + _RETRY_GROWTH_BYTES
            data = _encode([self._header, *encode_records()])
            if 2 * len(data) <= size:
                self._file.rewrite(data)
                self._reset_thresholds()
            else:
                # Encoding the records is expensive, and useless until most are acknowledged.
                self._rewrite_above = 2 * len(data)

    def rewrite(self, records: list[str]) -> None:
        """Replace the journal durably by `records`, which must be complete. Raises OSError."""
        self._file.rewrite(_encode([self._header, *records]))
        self._reset_thresholds()
        self._records.clear()

    def close(self) -> None:
        self._sync_requests.put(None)
        self._thread.join()
        self._file.close()

    def _reset_thresholds(self) -> None:
        self._truncate_above = _TRUNCATE_ABOVE_BYTES
        self._rewrite_above = _REWRITE_ABOVE_BYTES

    def _run_syncs(self) -> None:
        is_last = False
        while not is_last and (seq := self._sync_requests.get()) is not None:
            while not is_last and not self._sync_requests.empty():
                later = self._sync_requests.get()
                is_last = later is None
                seq = seq if later is None else later
            try:
                self._file.sync()
            except LogBroken:
                continue
            except OSError as error:
                log(f"cannot sync the journal: {error}")
                self._on_failed()
            else:
                self._on_synced(seq)


def _encode(records: list[str]) -> bytes:
    return "\n".join([*records, ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Leader:
    """Process of an attempt. It was born between two instants of CLOCK_BOOTTIME, in milliseconds.

    A process with this pid that was born at another time is unrelated.
    """

    pid: int
    born_after_ms: int
    born_before_ms: int
    started_ms: int


@dataclass(slots=True)
class JournalState:
    """Unacknowledged attempts of a journal.

    `unfinished`: started without a recorded end, with None if perhaps never spawned.
    `ended`: the `ended` messages.
    """

    reaper: dict[str, Any] = field(default_factory=dict)
    unfinished: dict[AttemptKey, Leader | None] = field(default_factory=dict)
    ended: dict[AttemptKey, dict[str, Any]] = field(default_factory=dict)


def read_journal(path: Path) -> JournalState:
    """Return the state in a journal; empty if the file is missing. Raises OSError."""
    return _replay(read_records(path))


def parse_journal(lines: Iterable[bytes]) -> JournalState:
    return _replay(parse_records(lines))


def _replay(records: Iterable[dict[str, Any]]) -> JournalState:
    state = JournalState()
    for record in records:
        try:
            _apply(state, record)
        except (ValueError, LookupError, TypeError):
            continue
    return state


def _apply(state: JournalState, record: dict[str, Any]) -> None:
    if "start" in record:
        job, n = record["start"]
        state.unfinished[job, n] = None
    elif "pid" in record:
        job, n, *leader = record["pid"]
        state.unfinished[job, n] = Leader(*leader)
    elif "end" in record:
        end = record["end"]
        key = (end["job"], end["n"])
        state.ended[key] = end
        state.unfinished.pop(key, None)
    elif "ack" in record:
        for job, n in record["ack"]:
            state.ended.pop((job, n), None)
            state.unfinished.pop((job, n), None)
    elif "reaper" in record:
        state.reaper = record["reaper"]
