"""Requests about schedules, which the master core handles in a turn."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mythjobs.master.requests import Request


class DefineSchedule(Request, frozen=True):
    """Add a schedule, or replace it. The response is whether anything changed.

    paused, reason: a new schedule begins paused. dry_run: check the definition only.
    """

    definition: dict[str, object]
    submitter: str
    replace: bool = False
    dry_run: bool = False
    paused: bool = False
    reason: str = ""


class RemoveSchedule(Request, frozen=True):
    name: str


class PauseSchedule(Request, frozen=True):
    """Pause a schedule until `until_ms` (None: until it is resumed), or resume it."""

    name: str
    on: bool
    until_ms: int | None = None
    reason: str = ""


class RunSchedule(Request, frozen=True):
    """Submit a job of a schedule now. The response is a list of job ids."""

    name: str
    submitter: str


class BackfillSchedule(Request, frozen=True):
    """Submit the jobs of past ticks that have none. The response is a list of BackfillTicks."""

    name: str
    from_ms: int
    to_ms: int
    dry_run: bool


class BackfillTick(Struct, frozen=True):
    """One tick of a backfill. job_id: its job, earlier or new."""

    at_ms: int
    outcome: Literal["ran", "to submit", "submitted", "refused"]
    job_id: int | None = None
    reason: str = ""
