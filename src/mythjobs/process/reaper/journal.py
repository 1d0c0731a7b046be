"""Journal of a reaper: a durable record of started attempts, their pids, and their ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from mythjobs.process.event_loop import log
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.record_log import LogBroken, RecordLog, parse_records, read_records

# Sizes above which an idle reaper empties its journal, and above which a busy one rewrites it if
# less than half of it is live. After a failure it is tried again when the file has grown.
_TRUNCATE_ABOVE_BYTES: Final = 256 * 1024
_REWRITE_ABOVE_BYTES: Final = 16 * 2**20
_RETRY_GROWTH_BYTES: Final = 2**20
# After a failed write.
_RETRY_S: Final = 1.0


class _Snapshot(NamedTuple):
    """Replaces all records before it. `is_required` if these are not durable."""

    records: list[str]
    is_required: bool


class ReaperJournal:
    """Queues records in the event loop's thread, which never waits for the disk.

    flush() writes them; each start is flushed by the thread that spawns it, everything else by
    the journal's own thread. That thread also syncs, all pending requests with one fdatasync. It
    calls `on_synced` with the number of the last durable end. After a failed sync nothing is
    durable before rewrite(); any thread that flushes calls `on_failed` whenever that is needed.
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
        # Threads only remove from the left, holding _write_lock.
        self._queue: deque[str | _Snapshot] = deque([header])
        self._write_lock = threading.Lock()
        self._file = RecordLog(path)
        self._truncate_above = _TRUNCATE_ABOVE_BYTES
        self._rewrite_above = _REWRITE_ABOVE_BYTES
        self._is_compacting = False
        # Numbers of ends to sync; 0 only to write, None to end the thread.
        self._requests: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether a power failure may lose records, even if a later fsync succeeds."""
        return self._file.is_broken

    @property
    def has_queued(self) -> bool:
        return bool(self._queue)

    def append(self, record: str) -> None:
        """Queue a record. Only in the event loop's thread."""
        self._queue.append(record)

    def flush(self) -> None:
        """Write all queued records. They survive a crash, but not a power failure. Thread-safe.

        Raises OSError; the next call writes what was not written.
        """
        with self._write_lock:
            records: list[str] = []
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, str):
                    records.append(item)
                    continue
                self._file.append(_encode(records))
                records.clear()
                self._apply_snapshot(item)
            self._file.append(_encode(records))

    def request_flush(self) -> None:
        """Write the queued records in the journal's thread."""
        self._requests.put(0)

    def request_sync(self, seq: int) -> None:
        """Write the queued records and make them durable in the thread, then report `seq`."""
        self._requests.put(seq)

    def compact(self, encode_records: Callable[[], list[str]], is_idle: bool) -> None:
        """Drop acknowledged attempts at the next flush if the journal is large.

        `encode_records` returns the live records; there are none if `is_idle`. After a failure
        the journal is unchanged, and is compacted after it has grown.
        """
        size = self._file.size_bytes
        if self.is_broken or self._is_compacting:
            return
        if is_idle and size > self._truncate_above:
            self._truncate_above = size + _RETRY_GROWTH_BYTES
            self._is_compacting = True
            self._queue.append(_Snapshot([], is_required=False))
        elif size > self._rewrite_above:
            self._rewrite_above = size + _RETRY_GROWTH_BYTES
            records = encode_records()
            live_bytes = sum(len(each) + 1 for each in records)
            if 2 * live_bytes <= size:
                self._is_compacting = True
                self._queue.append(_Snapshot(records, is_required=False))
            else:
                # Encoding the records is expensive, and useless until most are acknowledged.
                self._rewrite_above = 2 * live_bytes

    def rewrite(self, records: list[str], seq: int) -> None:
        """Replace the journal durably by `records`, which must be complete, then report `seq`."""
        self._queue.append(_Snapshot(records, is_required=True))
        self.request_sync(seq)

    def close(self) -> None:
        self._requests.put(None)
        self._thread.join()
        self._file.close()

    def _apply_snapshot(self, snapshot: _Snapshot) -> None:
        try:
            if snapshot.records or snapshot.is_required:
                self._file.rewrite(_encode([self._header, *snapshot.records]))
            else:
                # Needs no room on the disk.
                self._file.truncate()
                self._file.append(_encode([self._header]))
        except OSError as error:
            # The old file stays, and later records are appended to it.
            log(f"cannot rewrite the journal: {error}")
            if self._file.is_broken:
                self._on_failed()
        else:
            self._truncate_above = _TRUNCATE_ABOVE_BYTES
            self._rewrite_above = _REWRITE_ABOVE_BYTES
        self._is_compacting = False

    def _run(self) -> None:
        seq, is_last, has_failed = 0, False, False
        while not is_last:
            try:
                request = self._requests.get(timeout=_RETRY_S if has_failed else None)
                while request is not None:
                    seq = max(seq, request)
                    request = self._requests.get_nowait()
                is_last = True
            except Empty:
                pass
            try:
                self.flush()
                has_failed = False
            except OSError as error:
                if not has_failed:
                    log(f"cannot write the journal: {error}")
                has_failed = True
                continue
            if seq:
                self._sync(seq)
                seq = 0

    def _sync(self, seq: int) -> None:
        try:
            self._file.sync()
        except LogBroken:
            return
        except OSError as error:
            log(f"cannot sync the journal: {error}")
            self._on_failed()
        else:
            self._on_synced(seq)


def _encode(records: list[str]) -> bytes:
    return "\n".join([*records, ""]).encode("ascii") if records else b""


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
