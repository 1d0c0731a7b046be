"""Ticks of schedules: what became of a tick, and why ticks were missed."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Final


class TickOutcome(StrEnum):
    """What became of a tick of a schedule.

    SUBMITTED: its job has not ended. SUCCEEDED, FAILED, CANCELLED: the final state of its job.
    EXPIRED: its job was cancelled because it had not started in time. The other outcomes are of
    ticks without a job. OVERLAPPED: the job of an earlier tick had not ended. PAUSED: the schedule
    was paused. DST: a local time that the clocks skipped, or showed for the second time. MISSED:
    the tick was not evaluated in time. REFUSED: the submit was refused.
    """

    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OVERLAPPED = "overlapped"
    PAUSED = "paused"
    DST = "dst"
    MISSED = "missed"
    REFUSED = "refused"


# Outcomes of ticks that have a job.
WITH_JOB: Final = frozenset(
    {
        TickOutcome.SUBMITTED,
        TickOutcome.SUCCEEDED,
        TickOutcome.FAILED,
        TickOutcome.CANCELLED,
        TickOutcome.EXPIRED,
    }
)


class GapCause(StrEnum):
    """Why ticks were not evaluated in time."""

    DOWN = "down"
    SUSPENDED = "suspended"
    CLOCK_SET = "clock_set"
    BUSY = "busy"


GAP_SENTENCES: Final = {
    GapCause.DOWN: "the master was not running",
    GapCause.SUSPENDED: "the master's machine was suspended",
    GapCause.CLOCK_SET: "the clock of the master's machine was set forward",
    GapCause.BUSY: "the master was too busy, or could not write to its store",
}


def tick_key(schedule: str, at_ms: int, machine_id: int = 0) -> str:
    """Return the key of a tick's job: equal for the same tick, so that it is submitted once.

    machine_id: the machine of a schedule that runs on each machine, else 0.
    """
    return f"schedule:{schedule}:{format_tick(at_ms)}" + (f":{machine_id}" if machine_id else "")


def format_tick(at_ms: int) -> str:
    """Return an instant in UTC, like `2026-11-29T01:30:00Z`; with milliseconds if it has any."""
    at = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=at_ms)  # noqa: DTZ001 (UTC)
    part = f".{at_ms % 1000:03}" if at_ms % 1000 else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{part}Z"
