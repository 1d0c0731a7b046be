"""Waiting for jobs and batches to end, also across restarts of the master, and their summaries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session
from mythjobs.cli.times import find_percent, format_job_left, format_job_progress
from mythjobs.client.client import Client, ConnectionLost, Json
from mythjobs.errors import StoreUnavailable, Unreachable
from mythjobs.model.life import FINAL
from mythjobs.model.units import humanize_duration

T = TypeVar("T")

NOT_ALL_SUCCEEDED: Final = 1
# Exit code if jobs are held, so that they run only when a user releases them.
NEEDS_USER: Final = os.EX_NOUSER
# Maximum number of direct and indirect dependencies of a job that are searched for a held one.
_MAX_DEPENDENCIES: Final = 100
# Interval at which the held jobs of a batch are counted. The batch itself is polled each second.
_HELD_INTERVAL_MS: Final = 5000
# For how long requests are repeated if a master that was reached before becomes unreachable. A
# restart takes 1 to 2 s.
_RETRY_WINDOW_S: Final = 60.0
_RETRY_INTERVAL_S: Final = 0.25
# Maximum time for which the master delays its answer until the job ends. The short one applies
# while a progress line must be updated.
_LONG_POLL_S: Final = 60.0
_BAR_WIDTH: Final = 10
_SHORT_POLL_S: Final = 0.5


class RetryWindow:
    """Repeats read requests while a master that was reached before is unreachable."""

    def __init__(self, session: Session, *, quiet: bool = False) -> None:
        self._session = session
        self._quiet = quiet
        self._was_reached = False

    def client(self) -> Client:
        return self._session.client()

    def call(self, request: Callable[[Client], T]) -> T:
        """Return the result of `request`, which is repeated while the master is unreachable.

        Raises Unreachable at once if the master was never reached, otherwise after a minute.
        """
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


def has_ended(job: Json) -> bool:
    return job["state"] in FINAL


def is_held(job: Json) -> bool:
    return bool(job["hold"]) and job["state"] == "queued"


def find_held_job(retry: RetryWindow, job: Json) -> Json | None:
    """Return the held job that a job waits for (itself or one that it depends on), or None."""
    seen, pending = {job["id"]}, [job]
    while pending:
        each = pending.pop()
        if is_held(each):
            return each
        if each["state"] != "queued" or each["reason"]["code"] != "dependency":
            continue
        for after in each["after"]:
            if not after["met"] and after["job"] not in seen and len(seen) <= _MAX_DEPENDENCIES:
                seen.add(after["job"])
                pending.append(get_job(retry, after["job"]))
    return None


def get_job(retry: RetryWindow, job_id: int, wait_s: float = 0.0) -> Json:
    """Return a job. wait_s: wait up to this time until the job has ended or is held."""
    query = {"held": True} if wait_s else None
    return retry.call(lambda client: client.get(f"jobs/{job_id}", query, wait_s=wait_s))


def wait_for_job(
    retry: RetryWindow, job_id: int, on_update: Callable[[Json], object] | None = None
) -> tuple[Json, Json | None]:
    """Wait until a job has ended or waits for a held job. Return (job, held job or None).

    on_update: called with the job about twice a second while waiting.
    """
    # The first answer must not be delayed: the held job may be one that this job depends on.
    wait_s = 0.0
    while True:
        job = get_job(retry, job_id, wait_s)
        if has_ended(job):
            return job, None
        if (held := find_held_job(retry, job)) is not None:
            return job, held
        if on_update:
            on_update(job)
        wait_s = _SHORT_POLL_S if on_update else _LONG_POLL_S


def wait_for_jobs(session: Session, ids: Iterable[int], on_end: Callable[[Json], object]) -> int:
    """Wait for jobs. Return 0 if all succeeded, 1 if one did not.

    Return NEEDS_USER once all jobs that have not ended are held.

    on_end: called with each job that has ended, then with each job that is held.
    """
    failed: list[Json] = []

    def end(job: Json) -> None:
        on_end(job)
        if job["state"] == "failed" and _has_output(job):
            failed.append(job)

    waiting = list(ids)
    try:
        code = _wait_for_jobs(session, waiting, end)
    except KeyboardInterrupt:
        if len(waiting) == 1:
            terminal.print_message(
                f"job {waiting[0]} continues; `mythjobs cancel {waiting[0]}` ends it"
            )
        raise
    if failed:
        terminal.print_message(describe_log(failed[0]["id"]))
    return code


def describe_log(job_id: int) -> str:
    return f"`mythjobs log {job_id}` shows what job {job_id} wrote"


def _has_output(job: Json) -> bool:
    output = job["attempts"][-1]["output"] if job["attempts"] else []
    return any(written for written, *_ in output)


def _wait_for_jobs(session: Session, waiting: list[int], on_end: Callable[[Json], object]) -> int:
    retry, line, code = RetryWindow(session), terminal.ProgressLine(), 0
    on_update = _show_progress(line) if line.is_shown else None
    reported = set[int]()
    try:
        while waiting:
            stuck = []
            for job_id in waiting:
                job, held = wait_for_job(retry, job_id, on_update)
                line.clear()
                if held is not None:
                    stuck.append(job)
                    if job_id not in reported:
                        reported.add(job_id)
                        terminal.print_message(format_held(job, held))
                    continue
                on_end(job)
                if job["state"] != "succeeded":
                    code = NOT_ALL_SUCCEEDED
            if len(stuck) == len(waiting):
                for job in stuck:
                    on_end(job)
                return NEEDS_USER
            # Wait again for the held jobs: a user may have released them while the others ran.
            waiting = [job["id"] for job in stuck]
    finally:
        line.clear()
    return code


def wait_for_batch(session: Session, batch: int) -> tuple[Json, int]:
    """Wait until all jobs of a batch have ended. Return (batch, exit code).

    Return earlier, with exit code NEEDS_USER, if all jobs that have not ended are held.
    """
    retry, line = RetryWindow(session), terminal.ProgressLine()
    wait_s, counted_ms = 0.0, -_HELD_INTERVAL_MS
    try:
        while True:
            found = _get_batch(retry, batch, wait_s)
            counts = found["counts"]
            if found["over"]:
                return found, 0 if counts["succeeded"] == found["jobs"] else NOT_ALL_SUCCEEDED
            now_ms = clock.master_now().steady_ms
            if not line.is_shown or now_ms - counted_ms >= _HELD_INTERVAL_MS:
                counted_ms = now_ms
                held = _count_held(retry, batch)
                if held and held >= counts["open"]:
                    line.clear()
                    terminal.print_message(
                        f"{held} jobs of batch {batch} are held; "
                        f"`mythjobs release --batch {batch}` runs them, `cancel` ends them"
                    )
                    return found, NEEDS_USER
            line.show(f"batch {batch}: {format_counts(counts)}")
            wait_s = _SHORT_POLL_S if line.is_shown else _LONG_POLL_S
    finally:
        line.clear()


def _get_batch(retry: RetryWindow, batch: int, wait_s: float) -> Json:
    return retry.call(lambda client: client.get(f"batches/{batch}", wait_s=wait_s))


def _count_held(retry: RetryWindow, batch: int) -> int:
    query = {"batch": batch, "held": True}
    return int(retry.call(lambda client: client.get("jobs/count", query))["counts"]["queued"])


def format_held(job: Json, held: Json) -> str:
    """Return a message that `job` waits for the job `held` (usually itself), with the remedies."""
    number, reason = held["id"], get_reason(held)
    text = f"job {number} is held"
    if number != job["id"]:
        text = f"job {job['id']} waits for job {number}, which is held"
    # The reason of a job that a user has held says that it is held, and the first remedy.
    if not reason.startswith("held;"):
        text += f": {reason}"
    return f"{text}. `mythjobs release {number}` runs it, `mythjobs cancel {number}` ends it"


def format_counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def format_batch(batch: Json) -> str:
    """Return a text like `batch 7 of thumbnail, jobs 11 to 310: 40 % ended, 120 succeeded, …`."""
    ended = batch["jobs"] - batch["counts"]["open"]
    return (
        f"batch {batch['batch']} of {batch['command']}, jobs {batch['first']} to {batch['last']}: "
        f"{100 * ended // batch['jobs']} % ended, {format_counts(batch['counts'])}"
    )


def get_reason(job: Json) -> str:
    """Return the reason for the job's state, empty for a job that succeeded."""
    return str((job["reason"] or {}).get("sentence") or "")


def format_job_end(job: Json) -> str:
    """Return a sentence like `job 42 failed: exit code 3 (took 2.0 s)`."""
    last = job["attempts"][-1] if job["attempts"] else {}
    text = f"job {job['id']} {job['state']}"
    if reason := get_reason(job):
        text += f": {reason}"
    wall_s = (last.get("usage") or {}).get("wall_s")
    return text + (f" (took {humanize_duration(wall_s)})" if wall_s else "")


def _show_progress(line: terminal.ProgressLine) -> Callable[[Json], None]:
    return lambda job: line.show(format_progress(job, clock.master_now().wall_ms))


def format_progress(job: Json, now_ms: int) -> str:
    """`job 7 thumbnail: running [####......] 42 %, 5 min left, pass 2 (running on attic)`."""
    left, percent = format_job_left(job, now_ms), find_percent(job)
    comment = job["comment"] if job["state"] == "running" else ""
    bar = "" if percent is None else f" {_format_bar(percent)} {format_job_progress(job)}"
    parts = (job["state"] + bar, left and f"{left} left", comment)
    text = f"job {job['id']} {job['command']}: {', '.join(filter(None, parts))}"
    reason = get_reason(job)
    return f"{text} ({reason})" if reason else text


def _format_bar(percent: float) -> str:
    done = int(percent * _BAR_WIDTH / 100)
    return f"[{'#' * done}{'.' * (_BAR_WIDTH - done)}]"
