"""What a row of MythTV's queue shows of its job: state and comment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mythjobs.model.units import humanize_duration
from mythjobs.mythtv.job_rows import RowState, RowType, shorten_comment

_NOT_FOUND: Final = 127
_LIVE: Final = ("leased", "running")
_FINAL: Final = {
    "succeeded": RowState.FINISHED,
    "failed": RowState.ERRORED,
}


@dataclass(frozen=True)
class JobView:
    """A job as the API shows it. exit_code: of the last attempt, None if it has none."""

    job_id: int
    state: str
    has_started: bool = False
    is_paused: bool = False
    is_held: bool = False
    is_stopping: bool = False
    progress: float | None = None
    is_estimated: bool = False
    left_s: float | None = None
    comment: str = ""
    reason: str = ""
    exit_code: int | None = None

    @property
    def is_final(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")

    @property
    def is_live(self) -> bool:
        return self.state in _LIVE


def parse_job(given: Mapping[str, Any], now_ms: int) -> JobView:
    """Return the view of a job in a response of the API, from a list or alone."""
    progress, end_ms = given.get("progress"), given.get("eta_ms")
    is_estimated = progress is None and given.get("estimated_progress") is not None
    if progress is None:
        progress = given.get("estimated_progress")
    if end_ms is None:
        end_ms = given.get("estimated_end_ms")
    attempts = given.get("attempts") or []
    outcome = (attempts[-1].get("outcome") if attempts else None) or {}
    return JobView(
        job_id=int(given["id"]),
        state=str(given["state"]),
        has_started=bool(given.get("attempt")),
        is_paused="user" in (given.get("frozen") or []),
        is_held=bool(given.get("hold")),
        is_stopping=bool(given.get("stop_requested")),
        progress=progress,
        is_estimated=is_estimated,
        left_s=None if end_ms is None else max(end_ms - now_ms, 0) / 1000,
        comment=str(given.get("comment") or ""),
        reason=str((given.get("reason") or {}).get("sentence") or ""),
        exit_code=outcome.get("code"),
    )


def choose_state(job: JobView) -> RowState:
    """Return the state of the row of a job.

    A waiting job is QUEUED: MythTV's screens then offer to delete it, and every version recovers
    that state.
    """
    if job.is_final:
        if job.state == "cancelled":
            return RowState.ABORTED if job.has_started else RowState.CANCELLED
        return _FINAL[job.state]
    if not job.is_live:
        return RowState.QUEUED
    if job.is_stopping:
        return RowState.STOPPING
    return RowState.PAUSED if job.is_paused else RowState.RUNNING


def format_comment(job: JobView, row_type: int) -> str:
    """Return the comment of the row of a job, of at most 128 characters."""
    if job.state == "succeeded":
        return shorten_comment(job.comment or _describe_success(job, row_type))
    if job.is_final:
        return shorten_comment(_describe_failure(job))
    if not job.is_live:
        return shorten_comment(f"waits: {job.reason}" if job.reason else "waits")
    parts = [_format_progress(job)] if job.progress is not None else []
    if job.is_paused:
        parts.insert(0, "paused")
    if job.comment:
        parts.append(job.comment)
    return shorten_comment("; ".join(parts))


def _format_progress(job: JobView) -> str:
    about = "~" if job.is_estimated else ""
    text = f"{about}{job.progress:.0f} % completed"
    if job.left_s is None or job.is_paused:
        return text
    # Whole minutes: with seconds, each pass would write another text.
    left_s = job.left_s if job.left_s < 60 else round(job.left_s / 60) * 60
    left = "under 1 min" if left_s < 60 else humanize_duration(left_s).replace(" 0 s", "")
    return f"{text}, {about}{left} left"


def _describe_failure(job: JobView) -> str:
    why = job.reason or job.comment or job.state
    if job.state != "failed" or job.exit_code is None:
        return why
    # MythTV's screens have no output of jobs. A shell exits with 127 for a missing program.
    missing = " (program not found)" if job.exit_code == _NOT_FOUND else ""
    return f"{why}{missing}; see mythjobs log {job.job_id}"


def _describe_success(job: JobView, row_type: int) -> str:
    # A flagger's exit code is its number of breaks, and that text is MythTV's own.
    if row_type == RowType.COMMFLAG and job.exit_code is not None:
        return f"{job.exit_code} commercial break(s)"
    return "Successfully Completed."
