"""Rate-limited updates for the agent about running attempts: output growth and status lines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.process.event_loop import EventLoop
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper import messages
from mythjobs.process.reaper.attempt import ReaperAttempt

_INTERVAL_MS: Final = 200
# Pause between two reads of one status pipe. A job that writes 100,000 updates a second, each with
# a write(2) of its own, wakes the reaper 50 times a second and fills half of the pipe in a pause.
_READ_PAUSE_MS: Final = 20


class UpdateQueue:
    """Sends pending updates of all attempts together, at most five times a second, and none while
    many bytes to the agent are unsent.
    """

    def __init__(
        self, loop: EventLoop, send: Callable[[str], None], is_backlogged: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._send = send
        self._is_backlogged = is_backlogged
        self._with_output: dict[AttemptKey, ReaperAttempt] = {}
        self._with_status: dict[AttemptKey, ReaperAttempt] = {}
        self._paused: dict[AttemptKey, ReaperAttempt] = {}  # whose status pipe is not watched
        self._is_scheduled = False
        self._earliest_ms = 0

    def add_output(self, attempt: ReaperAttempt) -> None:
        self._with_output[attempt.key] = attempt
        self._schedule()

    def watch_status_pipe(self, attempt: ReaperAttempt) -> None:
        """Read the lines that the attempt writes to its status pipe, until flush()."""
        if attempt.status_pipe:
            self._loop.watch(attempt.status_pipe.fd, partial(self._read_status_pipe, attempt))

    def _read_status_pipe(self, attempt: ReaperAttempt) -> None:
        pipe = attempt.status_pipe
        if pipe is None:
            return
        pipe.read()
        self._loop.unwatch(pipe.fd)
        if not self._paused:
            self._loop.call_at(self._loop.now.run_ms + _READ_PAUSE_MS, self._resume_reading)
        self._paused[attempt.key] = attempt
        self._with_status[attempt.key] = attempt
        self._schedule()

    def _resume_reading(self) -> None:
        paused, self._paused = self._paused, {}
        for attempt in paused.values():
            self.watch_status_pipe(attempt)

    def flush(self, attempt: ReaperAttempt) -> None:
        """Send the pending updates of an attempt and close its status pipe. Called before its
        `ended` message is sent."""
        self._with_output.pop(attempt.key, None)
        if attempt.reports_output and attempt.written_bytes:
            self._send(messages.encode_grew(attempt))
        pipe, attempt.status_pipe = attempt.status_pipe, None
        if pipe is None:
            return
        pipe.read_all()
        self._with_status.pop(attempt.key, None)
        if attempt.is_draining and not self._paused.pop(attempt.key, None):
            self._loop.unwatch(pipe.fd)
        if lines := pipe.take_lines():
            self._send(messages.encode_status(attempt, lines))
        pipe.close()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_at(max(self._earliest_ms, self._loop.now.run_ms), self._send_pending)

    def _send_pending(self) -> None:
        self._is_scheduled = False
        self._earliest_ms = self._loop.now.run_ms + _INTERVAL_MS
        if self._is_backlogged():
            self._schedule()
            return
        for attempt in self._with_output.values():
            self._send(messages.encode_grew(attempt))
        self._with_output.clear()
        with_status, self._with_status = self._with_status, {}
        for attempt in with_status.values():
            if attempt.status_pipe:
                if lines := attempt.status_pipe.take_lines():
                    self._send(messages.encode_status(attempt, lines))
