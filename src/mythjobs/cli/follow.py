"""A job's output while it runs, attempt after attempt, resumed where the master was away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session
from mythjobs.cli.waiting import RetryWindow, has_ended
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.units import humanize_size

# How often a job is looked at that has not started: at first at once, then less and less.
_FIRST_LOOK_S: Final = 0.01
_LAST_LOOK_S: Final = 0.5
# The output of a job that is over comes to the master within moments, if its machine is there.
_ARRIVES_MS: Final = 10_000


class OutputFollower:
    """Passes one stream of a job on, from its beginning to the end of its last attempt."""

    def __init__(
        self,
        session: Session,
        job_id: int,
        stream: int,
        write: Callable[[bytes], object],
        *,
        quiet: bool = False,
    ) -> None:
        self._retry = RetryWindow(session, quiet=quiet)
        self._quiet = quiet
        self._job_id = job_id
        self._stream = stream
        self._write = write
        self._attempt = 0
        self._offset = 0
        self._failing_ms: int | None = None

    def follow(self, attempt: int | None = None) -> Json:
        """The job once it is over, or once this attempt of it is. Blocks until then."""
        look_s = _FIRST_LOOK_S
        while True:
            job = self._get_job()
            n = attempt or job["attempt"]
            if 0 < n <= job["attempt"]:
                if n != self._attempt:
                    self._start_attempt(n)
                if self._copy_output(job):
                    # One that goes on with another attempt is looked at after a second.
                    job = self._get_job(wait_s=1.0)
                    if attempt is not None or (has_ended(job) and job["attempt"] == n):
                        return job
            elif has_ended(job):
                if n:
                    raise BadRequest(f"job {self._job_id} has no attempt {n}")
                return job
            time.sleep(look_s)
            look_s = min(2 * look_s, _LAST_LOOK_S)

    def count_missing_bytes(self, job: Json) -> int:
        """How many bytes the attempt wrote that were not passed on."""
        for each in job["attempts"]:
            if each["n"] == self._attempt and len(each["output"]) >= self._stream:
                return max(0, int(each["output"][self._stream - 1][0]) - self._offset)
        return 0

    def _start_attempt(self, attempt: int) -> None:
        if self._attempt and not self._quiet:
            terminal.print_message(f"job {self._job_id} is run again, attempt {attempt}")
        self._attempt = attempt
        self._offset = 0

    def _copy_output(self, job: Json) -> bool:
        """Whether the output is whole. Not if the master, or the machine, went away under it."""
        query = {"stream": self._stream, "attempt": self._attempt, "follow": True}
        path = f"jobs/{self._job_id}/output"
        try:
            client = self._retry.client()
            client.stream(path, {**query, "offset": self._offset}, self._write_chunk)
        except Unreachable as error:
            self._record_failure(job, error)
            return False
        self._failing_ms = None
        return True

    def _write_chunk(self, data: bytes) -> None:
        self._offset += len(data)
        self._failing_ms = None
        self._write(data)

    def _record_failure(self, job: Json, error: Unreachable) -> None:
        # That the master is away is told by the next look; here it may be the machine.
        now_ms = clock.master_now().steady_ms
        if self._failing_ms is None:
            self._failing_ms = now_ms
        elif has_ended(job) and now_ms - self._failing_ms > _ARRIVES_MS:
            raise error

    def _get_job(self, wait_s: float = 0.0) -> Json:
        def job(client: Client) -> Json:
            return client.get(f"jobs/{self._job_id}", wait_s=wait_s)

        return self._retry.call(job)


def report_missing_bytes(count: int) -> None:
    if count:
        terminal.print_message(
            f"{count} bytes ({humanize_size(count)}) from the middle of it were not kept"
        )
