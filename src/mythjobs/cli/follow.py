"""Following a job's output while it runs, across attempts and restarts of the master."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session
from mythjobs.cli.waiting import (
    RetryWindow,
    find_held_job,
    format_held,
    get_job,
    has_ended,
    is_held,
)
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.units import humanize_size
from mythjobs.protocol.output_frames import MEDIA_TYPE as FRAMES
from mythjobs.protocol.output_frames import OutputFrameDecoder

# Interval for polling a job that has not started; doubled from the first value to the last.
_FIRST_POLL_S: Final = 0.01
_LAST_POLL_S: Final = 0.5
# Interval at which the jobs that a job waits for are searched for a held one: one request for each.
_HELD_INTERVAL_MS: Final = 5000
# Following fails if the output of an ended job is unavailable this long. Output reaches the master
# within moments after the end if the job's machine is connected.
_OUTPUT_ARRIVES_MS: Final = 10_000


class OutputFollower:
    """Copies one output stream of a job, from its beginning to the end of the last attempt."""

    def __init__(
        self,
        session: Session,
        job_id: int,
        stream: int,
        write: Callable[[bytes], object],
        *,
        quiet: bool = False,
        until_held: bool = False,
    ) -> None:
        """until_held: stop when the job is held, instead of waiting for its release."""
        self._retry = RetryWindow(session, quiet=quiet)
        self._quiet = quiet
        self._until_held = until_held
        self._reported_held_id: int | None = None
        self._next_search_ms = 0
        self._job_id = job_id
        self._stream = stream
        self._write = write
        self._attempt = 0
        # Position in the attempt's stream, and how many bytes before it were not kept.
        self._offset = self._missing_bytes = 0
        self._failing_since_ms: int | None = None

    def skip(self, attempt: int, offset: int) -> None:
        """Begin with this attempt at this position in its stream."""
        self._attempt = attempt
        self._offset = offset

    def follow(self, attempt: int | None = None) -> Json:
        """Copy output until the job, or the given attempt, has ended. Return the job.

        Raises BadRequest if the job has no such attempt.
        """
        poll_s = _FIRST_POLL_S
        while True:
            job = self._get_job()
            n = attempt or job["attempt"]
            if 0 < n <= job["attempt"]:
                if n != self._attempt:
                    self._start_attempt(n)
                if self._copy_output(job):
                    # The attempt has ended. Unless it is retried, the job ends within a second.
                    job = self._get_job(wait_s=1.0)
                    if attempt is not None or (has_ended(job) and job["attempt"] == n):
                        return job
                    if self._has_stopped(job):
                        return job
            elif has_ended(job):
                if n:
                    raise BadRequest(f"job {self._job_id} has no attempt {n}")
                return job
            elif self._has_stopped(job):
                return job
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LAST_POLL_S)

    def _has_stopped(self, job: Json) -> bool:
        """Return True if the job is held and `until_held` is set, else report a held job."""
        if is_held(job) and self._until_held:
            return True
        if not self._quiet:
            self._report_held(job)
        return False

    def _report_held(self, job: Json) -> None:
        """Print once that the job, or another one that it waits for, is held."""
        now_ms = clock.master_now().steady_ms
        if not is_held(job) and now_ms < self._next_search_ms:
            return
        self._next_search_ms = now_ms + _HELD_INTERVAL_MS
        held = find_held_job(self._retry, job)
        held_id = None if held is None else held["id"]
        if held is not None and held_id != self._reported_held_id:
            terminal.print_message(format_held(job, held))
        self._reported_held_id = held_id

    def count_missing_bytes(self, job: Json) -> int:
        """Return the number of bytes of the attempt's output that were not copied."""
        for each in job["attempts"]:
            if each["n"] == self._attempt and len(each["output"]) >= self._stream:
                written = int(each["output"][self._stream - 1][0])
                return self._missing_bytes + max(0, written - self._offset)
        return self._missing_bytes

    def _start_attempt(self, attempt: int) -> None:
        if self._attempt and not self._quiet:
            terminal.print_message(f"job {self._job_id} runs again, attempt {attempt}")
        self._attempt = attempt
        self._offset = self._missing_bytes = 0

    def _copy_output(self, job: Json) -> bool:
        """Copy the attempt's output. Return False if the connection was lost before its end."""
        query = {
            "stream": self._stream,
            "attempt": self._attempt,
            "follow": True,
            "framed": True,
            "offset": self._offset,
        }
        path = f"jobs/{self._job_id}/output"
        decoder = OutputFrameDecoder(self._write_piece)
        is_framed = False

        def read_headers(headers: Mapping[str, str]) -> None:
            # A master of an older version ignores `framed`, and sends the bytes alone.
            nonlocal is_framed
            is_framed = headers.get("content-type") == FRAMES

        def write(data: bytes) -> None:
            if is_framed:
                decoder.feed(data)
            else:
                self._write_piece(self._offset, data)

        try:
            self._retry.client().stream(path, query, write, read_headers)
        except Unreachable as error:
            self._record_failure(job, error)
            return False
        self._failing_since_ms = None
        return True

    def _write_piece(self, offset: int, data: bytes) -> None:
        self._missing_bytes += max(0, offset - self._offset)
        self._offset = offset + len(data)
        self._failing_since_ms = None
        self._write(data)

    def _record_failure(self, job: Json, error: Unreachable) -> None:
        # Raise if the output of an ended job stays unavailable, as while the job's machine is
        # disconnected. If the master is unreachable, the next _get_job() raises.
        now_ms = clock.master_now().steady_ms
        if self._failing_since_ms is None:
            self._failing_since_ms = now_ms
        elif has_ended(job) and now_ms - self._failing_since_ms > _OUTPUT_ARRIVES_MS:
            raise error

    def _get_job(self, wait_s: float = 0.0) -> Json:
        return get_job(self._retry, self._job_id, wait_s)


def report_missing_bytes(count: int) -> None:
    if count:
        terminal.print_message(
            f"{count} bytes ({humanize_size(count)}) from the middle of the output were not kept"
        )
