"""Output of `mythjobs run`: copies of the job's streams, and a line with its progress."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final, TextIO

from mythjobs import clock
from mythjobs.cli.follow import OutputFollower, report_missing_bytes
from mythjobs.cli.session import Session
from mythjobs.cli.terminal import OutputStream, ProgressLine
from mythjobs.cli.waiting import (
    RetryWindow,
    format_progress,
    get_job,
    has_ended,
    is_held,
)
from mythjobs.client.client import Json
from mythjobs.errors import MythJobsError

# The line appears after the program has written nothing for this long.
_SILENCE_MS: Final = 1000
_MIN_INTERVAL_S: Final = 0.1
# How long the master delays its answer: progress is shown within a second.
_POLL_S: Final = 0.5


class _StatusLine:
    """Line with the progress of a job, at the end of the terminal while its program is silent."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._retry = RetryWindow(session, quiet=True)
        self._job_id = job_id
        self._line = ProgressLine()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # Whether the program's output on the terminal ended with a line break.
        self._is_at_line_start = True
        self._silent_from_ms = 0
        if self._line.is_shown:
            threading.Thread(target=self._run, daemon=True).start()

    def wrap(self, stream: TextIO) -> Callable[[bytes], None]:
        """Return a function that writes output to a stream; on a terminal it removes the line."""
        output = OutputStream(stream)

        def write(data: bytes) -> None:
            with self._lock:
                self._line.clear()
                self._is_at_line_start = data.endswith(b"\n")
                self._silent_from_ms = clock.master_now().steady_ms + _SILENCE_MS
                output.write(data)

        # Without the lock, output that blocks in a pipe does not block close().
        return write if self._line.is_shown and stream.isatty() else output.write

    def close(self) -> None:
        self._closed.set()
        # A terminal blocks output after Ctrl-S; Ctrl-C must still cancel the job.
        if self._lock.acquire(timeout=1.0):
            self._line.clear()
            self._lock.release()

    def _run(self) -> None:
        try:
            # Pause, because a master may answer at once.
            while not self._closed.wait(_MIN_INTERVAL_S):
                job = get_job(self._retry, self._job_id, wait_s=_POLL_S)
                if has_ended(job):
                    return
                self._show(job)
                if is_held(job):
                    return
        except MythJobsError:
            pass  # the threads that copy output report it

    def _show(self, job: Json) -> None:
        now = clock.master_now()
        is_known = any(
            job.get(name) not in (None, "")
            for name in ("progress", "eta_ms", "estimated_progress", "estimated_end_ms", "comment")
        )
        with self._lock:
            is_silent = self._is_at_line_start and now.steady_ms >= self._silent_from_ms
            if not self._closed.is_set() and is_silent and (is_known or job["state"] == "queued"):
                self._line.show(format_progress(job, now.wall_ms))


class OutputThreads:
    """Two threads that copy stdout and stderr of a job."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._errors: list[BaseException] = []
        self._has_ended = threading.Event()
        self._line = _StatusLine(session, job_id)
        self._threads = [
            threading.Thread(
                target=self._follow,
                args=(session, job_id, number, self._line.wrap(to)),
                daemon=True,
            )
            for number, to in ((1, sys.stdout), (2, sys.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until both streams are copied. Raises the first error of a thread at once."""
        try:
            while any(thread.is_alive() for thread in self._threads) and not self._errors:
                self._has_ended.wait()
                self._has_ended.clear()
        finally:
            self._line.close()
        if self._errors:
            raise self._errors[0]

    def _follow(
        self, session: Session, job_id: int, stream: int, write: Callable[[bytes], None]
    ) -> None:
        try:
            # The follower of stderr is quiet, so that messages about the job appear only once.
            follower = OutputFollower(
                session, job_id, stream, write, quiet=stream == 2, until_held=True
            )
            report_missing_bytes(follower.count_missing_bytes(follower.follow()))
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._has_ended.set()
