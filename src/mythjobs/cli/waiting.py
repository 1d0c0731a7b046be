"""Waiting for jobs to be over, also across a restart of the master: jobs go on without it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session
from mythjobs.cli.texts import sanitize
from mythjobs.client.client import Client, ConnectionLost, Json
from mythjobs.errors import StoreUnavailable, Unreachable
from mythjobs.model.life import FINAL
from mythjobs.model.units import humanize_duration

T = TypeVar("T")

NOT_ALL_SUCCEEDED: Final = 1
# How long a master may be away once it has been met; a restart takes a second or two.
_AWAY_S: Final = 60.0
_RETRY_S: Final = 0.25
# How long one answer may be waited for; with a line to keep up to date, a second.
_LONG_S: Final = 60.0
_SHORT_S: Final = 1.0


class RetryWindow:
    """Asks again while a master that was met is away. For reads only, which may be repeated."""

    def __init__(self, session: Session, *, quiet: bool = False) -> None:
        self._session = session
        self._quiet = quiet
        self._met = False

    def client(self) -> Client:
        return self._session.client()

    def call(self, question: Callable[[Client], T]) -> T:
        """Raises Unreachable at once if the master was never met, else after a minute."""
        until_ms: int | None = None
        while True:
            try:
                answer = question(self._session.client())
            except Unreachable as error:
                self._met = self._met or isinstance(error, ConnectionLost | StoreUnavailable)
                now_ms = clock.master_now().steady_ms
                if not self._met or (until_ms is not None and now_ms > until_ms):
                    raise
                if until_ms is None:
                    until_ms = now_ms + round(_AWAY_S * 1000)
                    self._report_retry()
                time.sleep(_RETRY_S)
                continue
            self._met = True
            return answer

    def _report_retry(self) -> None:
        if not self._quiet:
            terminal.print_message("the master is away; jobs go on, waiting for it to come back")


class ProgressLine:
    """One line on the terminal that is written over while something takes long."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._any = False

    def show(self, line: str) -> None:
        if self.is_shown:
            self._any = True
            print(f"\r\x1b[K{sanitize(line)[:200]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._any:
            self._any = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def has_ended(job: Json) -> bool:
    return job["state"] in FINAL


def wait_for_job(
    patience: RetryWindow, job_id: int, tick: Callable[[Json], object] | None = None
) -> Json:
    """The job when it is over; `tick` sees it about once a second until then."""
    wait_s = _SHORT_S if tick else _LONG_S
    while True:
        job = patience.call(lambda client: client.get(f"jobs/{job_id}", wait_s=wait_s))
        if has_ended(job):
            return job
        if tick:
            tick(job)


def wait_for_jobs(session: Session, ids: Iterable[int], tell: Callable[[Json], object]) -> int:
    """0 if all succeeded, else 1; `tell` gets each job when it is over, in the order given."""
    patience, ticker, code = RetryWindow(session), ProgressLine(), 0
    try:
        for job_id in ids:
            tick = (lambda job: ticker.show(_format_progress(job))) if ticker.is_shown else None
            job = wait_for_job(patience, job_id, tick)
            ticker.clear()
            tell(job)
            if job["state"] != "succeeded":
                code = NOT_ALL_SUCCEEDED
    finally:
        ticker.clear()
    return code


def wait_for_batch(session: Session, batch: int) -> Json:
    """The batch when all its jobs are over."""
    patience, ticker = RetryWindow(session), ProgressLine()
    wait_s = _SHORT_S if ticker.is_shown else _LONG_S
    try:
        while True:
            found = patience.call(lambda client: client.get(f"batches/{batch}", wait_s=wait_s))
            if found["over"]:
                return found
            counts = found["counts"]
            ticker.show(f"batch {batch}: " + format_counts(counts))
    finally:
        ticker.clear()


def format_counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def format_batch(batch: Json) -> str:
    """`batch 7 of thumbnail, jobs 11 to 310: 40 % over, 118 succeeded, 2 failed, 180 open`."""
    over = batch["jobs"] - batch["counts"]["open"]
    return sanitize(
        f"batch {batch['batch']} of {batch['command']}, jobs {batch['first']} to {batch['last']}: "
        f"{100 * over // batch['jobs']} % over, {format_counts(batch['counts'])}"
    )


def get_reason(job: Json) -> str:
    """Why a job is in its state; nothing to say of one that succeeded."""
    return str((job["reason"] or {}).get("sentence") or "")


def format_job_end(job: Json) -> str:
    """`job 42 failed: exit code 3 (took 2.0 s)`."""
    last = job["attempts"][-1] if job["attempts"] else {}
    words = f"job {job['id']} {job['state']}"
    if why := get_reason(job):
        words += f": {why}"
    wall_s = (last.get("usage") or {}).get("wall_s")
    return sanitize(words + (f" (took {humanize_duration(wall_s)})" if wall_s else ""))


def _format_progress(job: Json) -> str:
    done = "" if job["progress"] is None else f", {job['progress']:g} %"
    why = get_reason(job)
    return f"job {job['id']} {job['command']}: {job['state']}{done}" + (f" ({why})" if why else "")
