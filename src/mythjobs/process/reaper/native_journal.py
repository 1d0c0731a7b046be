"""Journal of a reaper whose records a thread in C writes and syncs (spawn/native_append.py)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from mythjobs.process.event_loop import EventLoop, log
from mythjobs.process.reaper.journal import ReaperJournal
from mythjobs.process.spawn.native_append import NativeAppender


class _Append(NamedTuple):
    """An append in the appender's thread: the end to sync, or 0, and the bytes to write."""

    seq: int
    data: bytes


class NativeJournal(ReaperJournal):
    """A reaper's journal. The journal's thread in Python serves only requests that the appender
    cannot: the header, snapshots, and all requests after an error until they succeed.

    Whoever holds _write_lock and has called _finish_append() is the only one that writes.
    """

    def __init__(
        self,
        loop: EventLoop,
        path: str,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> None:
        """Raises OSError if the appender cannot be used here."""
        self._appender = NativeAppender(loop, self._append_done)
        # The append in progress. Set under _write_lock, cleared under _append_lock.
        self._append_in_c: _Append | None = None
        self._append_lock = threading.Lock()
        # Request that waits for the end of that append: sequence number of an end to sync, or 0.
        # None if there is none.
        self._waiting: int | None = None
        super().__init__(path, header, on_synced, on_failed)

    def request_flush(self) -> None:
        self.request_sync(0)

    def request_sync(self, seq: int) -> None:
        if self._waiting is not None:
            seq, self._waiting = max(seq, self._waiting), None
        if self._append_in_c is not None:
            # The next append has the records of all requests that wait.
            self._waiting = seq
        elif not self._begin_append(seq):
            self._requests.put(seq)

    def serve_waiting(self) -> None:
        if self._waiting is not None and self._append_in_c is None:
            self.request_sync(0)

    def _begin_append(self, seq: int) -> bool:
        """Have the appender write the queued records and, for the end `seq`, sync them. Return
        False if the journal's thread has to do something first, or if another thread writes."""
        if not self._has_header or self.write_error or self._has_snapshot_queued:
            return False
        if not self._write_lock.acquire(blocking=False):
            return False
        try:
            lines = self._encode_lines([each for each in self._queue if isinstance(each, str)])
            data = self._file.begin_append(lines)
            if data is None:
                return False
            self._queue.clear()
            self._append_in_c = _Append(seq, data)
            self._appender.submit(self._file.fd, data, wants_sync=seq > 0)
        finally:
            self._write_lock.release()
        return True

    def _append_done(self) -> None:
        # Another thread may have completed the append, and a new one may be in progress.
        if self._append_in_c is not None and self._appender.is_done:
            self._finish_append()

    def _finish_append(self) -> None:
        """Wait for the append in progress, if any, and complete it. Thread-safe."""
        if self._append_in_c is None:
            return
        with self._append_lock:
            append = self._append_in_c
            if append is None:
                return
            result = self._appender.wait()
            was_written = result.written_bytes == len(append.data)
            is_broken = was_written and bool(result.error)
            self._file.end_append(append.data, result.written_bytes, is_broken=is_broken)
            self._append_in_c = None
        if not was_written:
            self.write_error = os.strerror(result.error)
            log(f"cannot write the journal: {self.write_error}")
            self._requests.put(append.seq)
        elif is_broken:
            log(f"cannot sync the journal: {os.strerror(result.error)}")
            self._on_failed()
        elif append.seq:
            self._on_synced(append.seq)

    def close(self) -> None:
        self._finish_append()
        if self._waiting is not None:
            self._requests.put(self._waiting)
        super().close()
