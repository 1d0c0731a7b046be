"""Waiting for jobs and batches to end, also across restarts of the master, and their summaries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session
from mythjobs.cli.terminal import sanitize
from mythjobs.client.client import Client, ConnectionLost, Json
from mythjobs.errors import StoreUnavailable, Unreachable
from mythjobs.model.life import FINAL
from mythjobs.model.units import humanize_duration

T = TypeVar("T")

NOT_ALL_SUCCEEDED: Final = 1
# How long a master that was reached before may be unreachable; a restart takes 1 to 2 s.
_RETRY_WINDOW_S: Final = 60.0
_RETRY_INTERVAL_S: Final = 0.25
# How long the master may wait before it answers, without and with a progress line to update.
_LONG_POLL_S: Final = 60.0
_SHORT_POLL_S: Final = 1.0


class RetryWindow:
    """Repeats read requests while a master that was reached before is unreachable."""

    def __init__(self, session: Session, *, quiet: bool = False) -> None:
        self._session = session
        self._quiet = quiet
        self._was_reached = False

    def client(self) -> Client:
        return self._session.client()

    def call(self, request: Callable[[Client], T]) -> T:
        """Raises Unreachable: at once if the master was never reached, else after a minute."""
        until_ms: int | None = None
        while True:
            try:
                answer = request(self._session.client())
            except Unreachable as error:
                self._was_reached |= isinstance(error, ConnectionLost | StoreUnavailable)
                now_ms = clock.master_now().steady_ms
                if not self._was_reached or (until_ms is not None and now_ms > until_ms):
                    raise
                if until_ms is None:
                    until_ms = now_ms + round(_RETRY_WINDOW_S * 1000)
                    if not self._quiet:
                        terminal.print_message(
                            "the master is unreachable; running jobs continue; reconnecting"
                        )
                time.sleep(_RETRY_INTERVAL_S)
                continue
            self._was_reached = True
            return answer


class ProgressLine:
    """A line on stderr that is overwritten, shown only on a terminal."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._has_text = False

    def show(self, line: str) -> None:
        if self.is_shown:
            self._has_text = True
            print(f"\r\x1b[K{sanitize(line)[:200]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._has_text:
            self._has_text = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def has_ended(job: Json) -> bool:
    return job["state"] in FINAL


def wait_for_job(
    retry: RetryWindow, job_id: int, on_update: Callable[[Json], object] | None = None
) -> Json:
    """Return the job when it has ended; `on_update` gets it about once a second until then."""
    wait_s = _SHORT_POLL_S if on_update else _LONG_POLL_S
    while True:
        job = retry.call(lambda client: client.get(f"jobs/{job_id}", wait_s=wait_s))
        if has_ended(job):
            return job
        if on_update:
            on_update(job)


def wait_for_jobs(session: Session, ids: Iterable[int], on_end: Callable[[Json], object]) -> int:
    """Return 0 if all jobs succeeded, else 1; `on_end` gets each ended job in the given order."""
    retry, line, code = RetryWindow(session), ProgressLine(), 0
    try:
        for job_id in ids:
            on_update = (lambda job: line.show(_format_progress(job))) if line.is_shown else None
            job = wait_for_job(retry, job_id, on_update)
            line.clear()
            on_end(job)
            if job["state"] != "succeeded":
                code = NOT_ALL_SUCCEEDED
    finally:
        line.clear()
    return code


def wait_for_batch(session: Session, batch: int) -> Json:
    """Return the batch when all its jobs have ended."""
    retry, line = RetryWindow(session), ProgressLine()
    wait_s = _SHORT_POLL_S if line.is_shown else _LONG_POLL_S
    try:
        while True:
            found = retry.call(lambda client: client.get(f"batches/{batch}", wait_s=wait_s))
            if found["over"]:
                return found
            line.show(f"batch {batch}: {format_counts(found['counts'])}")
    finally:
        line.clear()


def format_counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def format_batch(batch: Json) -> str:
    """`batch 7 of thumbnail, jobs 11 to 310: 40 % ended, 118 succeeded, 2 failed, 180 open`."""
    ended = batch["jobs"] - batch["counts"]["open"]
    return (
        f"batch {batch['batch']} of {batch['command']}, jobs {batch['first']} to {batch['last']}: "
        f"{100 * ended // batch['jobs']} % ended, {format_counts(batch['counts'])}"
    )


def get_reason(job: Json) -> str:
    """Return the reason for the job's state, empty for a job that succeeded."""
    return str((job["reason"] or {}).get("sentence") or "")


def format_job_end(job: Json) -> str:
    """`job 42 failed: exit code 3 (took 2.0 s)`."""
    last = job["attempts"][-1] if job["attempts"] else {}
    text = f"job {job['id']} {job['state']}"
    if reason := get_reason(job):
        text += f": {reason}"
    wall_s = (last.get("usage") or {}).get("wall_s")
    return text + (f" (took {humanize_duration(wall_s)})" if wall_s else "")


def _format_progress(job: Json) -> str:
    done = "" if job["progress"] is None else f", {job['progress']:g} %"
    reason = get_reason(job)
    return f"job {job['id']} {job['command']}: {job['state']}{done}" + (
        f" ({reason})" if reason else ""
    )
