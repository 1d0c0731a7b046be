"""Journal of a reaper: a durable record of started attempts, their pids, and their ends."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from mythjobs.process.event_loop import log
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.record_log import (
    OPERATING_SYSTEM,
    FileSystem,
    LogBroken,
    RecordLog,
    parse_records,
    read_records,
)

# An idle reaper empties a journal above _TRUNCATE_ABOVE_BYTES. A busy one rewrites a journal above
# _REWRITE_ABOVE_BYTES if at most half of it is live records. If that fails, the journal must first
# grow by _RETRY_GROWTH_BYTES before the reaper tries again.
_TRUNCATE_ABOVE_BYTES: Final = 256 * 1024
_REWRITE_ABOVE_BYTES: Final = 16 * 2**20
_RETRY_GROWTH_BYTES: Final = 2**20
# Interval at which a failed write of the journal is repeated.
_RETRY_S: Final = 1.0


class _Snapshot(NamedTuple):
    """Queue entry that replaces all earlier records of the journal by `records`. `is_required` is
    True if an fsync has failed: only a new file makes the records durable then."""

    records: list[str]
    is_required: bool


class ReaperJournal:
    """Journal whose records the event loop's thread queues, so that it never waits for the disk.

    flush() writes the queued records: before a spawn in the spawn pool, a thread of the pool calls
    it, otherwise the journal's own thread. That thread also serves all pending sync requests with
    one fdatasync, and then calls `on_synced` with the sequence number of the last durable end.
    After a failed sync no record becomes durable until rewrite(); `on_failed`, called in any thread
    that flushes, requests it.
    """

    def __init__(
        self,
        path: str,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
        files: FileSystem = OPERATING_SYSTEM,
    ) -> None:
        self._header = header
        self._on_synced = on_synced
        self._on_failed = on_failed
        # The event loop's thread appends. Other threads only remove from the left, while they hold
        # _write_lock.
        self._queue: deque[str | _Snapshot] = deque([header])
        self._write_lock = threading.Lock()
        self._file = RecordLog(path, files)
        self._truncate_above = _TRUNCATE_ABOVE_BYTES
        self._rewrite_above = _REWRITE_ABOVE_BYTES
        self._is_compacting = False
        # Descriptor with which the spawner appends start records; -1 if there is none.
        self._direct_fd = -1
        self._direct_bytes = 0
        # Counted by the event loop's thread and by the threads that flush, respectively.
        self._snapshots_queued = self._snapshots_applied = 0
        self._has_header = False
        # Requests to the journal's thread: sequence number of an end to sync, 0 to write without a
        # sync, None to exit.
        self._requests: SimpleQueue[int | None] = SimpleQueue()
        # Why the last write failed; "" if it did not. Until a write succeeds, no end is durable.
        self.write_error = ""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._start_thread()

    def _start_thread(self) -> None:
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """True after a failed fsync: a power failure may lose records until rewrite()."""
        return self._file.is_broken

    @property
    def has_queued(self) -> bool:
        return bool(self._queue)

    @property
    def _has_snapshot_queued(self) -> bool:
        return self._snapshots_queued != self._snapshots_applied

    def append(self, record: str) -> None:
        """Queue a record. Call only in the event loop's thread."""
        self._queue.append(record)

    def prepare_direct(self, record: str) -> tuple[int, bytes] | None:
        """Return a descriptor, and the bytes of `record` to append with it in another thread.

        None if the record must be queued, because the file is about to be replaced. Call only in
        the event loop's thread, after the record's attempt has become a part of the snapshots.
        """
        if not self._has_header or self._has_snapshot_queued:
            return None
        if self._direct_fd < 0:
            try:
                self._direct_fd = os.dup(self._file.fd)
            except OSError:
                return None
        data = _encode(["", record])
        self._direct_bytes += len(data)
        return self._direct_fd, data

    def flush(self) -> None:
        """Write all queued records to the file, without a sync: they survive a crash of the reaper,
        but not a power failure. Thread-safe.

        Raises OSError; the next call then writes the records that this one could not write.
        """
        with self._write_lock:
            self._finish_append()
            records: list[str] = []
            while self._queue:
                item = self._queue[0]
                if isinstance(item, str):
                    records.append(item)
                else:
                    batch, records = records, []
                    self._append(batch)
                    self._apply_snapshot(item)
                    self._snapshots_applied += 1
                self._queue.popleft()
            self._append(records)
            self._has_header = True

    def _append(self, records: list[str]) -> None:
        self._file.append(self._encode_lines(records))

    def _encode_lines(self, records: list[str]) -> bytes:
        data = _encode(records)
        # Begin with an empty line if the spawner appends too: it may have written a part of a line.
        return b"\n" + data if data and self._direct_fd >= 0 else data

    def request_flush(self) -> None:
        """Let the journal's thread write the queued records."""
        self._requests.put(0)

    def request_sync(self, seq: int) -> None:
        """Let the journal's thread write the queued records and sync them, then call `on_synced`
        with `seq`."""
        self._requests.put(seq)

    def serve_waiting(self) -> None:
        """Serve requests that waited until another thread was free, if it is now. Call after each
        iteration of the event loop."""

    def _finish_append(self) -> None:
        """Wait until no other thread writes to the file. None does while _write_lock is held."""

    def compact(self, encode_records: Callable[[], list[str]], is_idle: bool) -> None:
        """If the journal is large, queue a snapshot, so that the next flush removes the records of
        acknowledged attempts.

        `encode_records` returns the records of all other attempts; if `is_idle`, there are none.
        If the rewrite fails, the journal is unchanged; another is tried after it has grown.
        """
        size = self._file.size_bytes + self._direct_bytes
        if self.is_broken or self._is_compacting:
            return
        if is_idle and size > self._truncate_above:
            self._truncate_above = size + _RETRY_GROWTH_BYTES
            self._queue_snapshot([], is_required=False)
        elif size > self._rewrite_above:
            self._rewrite_above = size + _RETRY_GROWTH_BYTES
            records = encode_records()
            live_bytes = sum(len(each) + 1 for each in records)
            if 2 * live_bytes <= size:
                self._queue_snapshot(records, is_required=False)
            else:
                # More than half of the journal is live records: a rewrite saves too little. As
                # encoding is expensive, do not try again until the journal has twice their size.
                self._rewrite_above = 2 * live_bytes

    def rewrite(self, records: list[str], seq: int) -> None:
        """Let the journal's thread replace the whole journal durably by `records`, the records of
        all attempts, and then call `on_synced` with `seq`."""
        self._queue_snapshot(records, is_required=True)
        self.request_sync(seq)

    def _queue_snapshot(self, records: list[str], is_required: bool) -> None:
        self._is_compacting = self._is_compacting or not is_required
        self._snapshots_queued += 1
        self._direct_bytes = 0
        self._queue.append(_Snapshot(records, is_required))

    def close(self) -> None:
        self._requests.put(None)
        self._thread.join()
        self._file.close()
        if self._direct_fd >= 0:
            os.close(self._direct_fd)

    def _apply_snapshot(self, snapshot: _Snapshot) -> None:
        try:
            if snapshot.records or snapshot.is_required:
                self._file.rewrite(_encode([self._header, *snapshot.records]))
            else:
                # Truncate instead of rewriting: this works even if the disk is full.
                self._file.truncate()
                self._file.append(_encode([self._header]))
        except OSError as error:
            # Continue with the old file, to which later records are appended.
            log(f"cannot rewrite the journal: {error}")
            if self._file.is_broken:
                self._on_failed()
        else:
            self._truncate_above = _TRUNCATE_ABOVE_BYTES
            self._rewrite_above = _REWRITE_ABOVE_BYTES
            if self._direct_fd >= 0:
                os.dup2(self._file.fd, self._direct_fd, inheritable=False)
        self._is_compacting = False

    def _run(self) -> None:
        seq, is_last = 0, False
        while not is_last:
            try:
                request = self._requests.get(timeout=_RETRY_S if self.write_error else None)
                while request is not None:
                    seq = max(seq, request)
                    request = self._requests.get_nowait()
                is_last = True
            except Empty:
                pass
            if self._write() and seq:
                self._sync(seq)
                seq = 0

    def _write(self) -> bool:
        """Write the queued records; return False if they could not be written."""
        try:
            self.flush()
        except OSError as error:
            if not self.write_error:
                log(f"cannot write the journal: {error}")
            self.write_error = error.strerror or str(error)
            return False
        self.write_error = ""
        return True

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
    """The program's process of an attempt, started between born_after_ms and born_before_ms, two
    instants of CLOCK_BOOTTIME.

    A process with this pid and another start time is unrelated: the pid was reused.
    """

    pid: int
    born_after_ms: int
    born_before_ms: int
    started_ms: int


@dataclass(slots=True)
class JournalState:
    """Attempts in a reaper's journal that the master has not acknowledged.

    `unfinished`: attempts without an end in the journal; the value is None if the journal has no
    pid either, so that the process may or may not have been spawned.
    `ended`: the `ended` messages of the other attempts.
    """

    reaper: dict[str, Any] = field(default_factory=dict)
    unfinished: dict[AttemptKey, Leader | None] = field(default_factory=dict)
    ended: dict[AttemptKey, dict[str, Any]] = field(default_factory=dict)


def read_journal(path: str | os.PathLike[str]) -> JournalState:
    """Return the state recorded in a journal; empty if the file is missing. Raises OSError.

    A record that is torn or damaged is skipped. The content of `ended` messages is not checked.
    """
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
        state.unfinished[_read_key(record["start"])] = None
    elif "pid" in record:
        pid, *born = record["pid"][2:]
        state.unfinished[_read_key(record["pid"][:2])] = Leader(
            _read_int(pid), *map(_read_int, born)
        )
    elif "end" in record:
        end = record["end"]
        key = _read_key((end["job"], end["n"]))
        state.ended[key] = end
        state.unfinished.pop(key, None)
    elif "ack" in record:
        for key in map(_read_key, record["ack"]):
            state.ended.pop(key, None)
            state.unfinished.pop(key, None)
    elif "reaper" in record:
        state.reaper = {**record["reaper"]}  # raises TypeError if it is no object


def _read_key(value: Any) -> AttemptKey:
    job, n = value
    return _read_int(job), _read_int(n)


def _read_int(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a number of a record")
    return value
