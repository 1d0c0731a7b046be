"""Requests and responses of the API about schedules, described in docs/api.md."""

from __future__ import annotations

from typing import TypedDict

from msgspec import Struct


class ScheduleDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """Definition of a schedule, as TOML tables. `replace`: replace it if the schedule exists.

    dry_run: only check it and return the next runs. paused, reason: a new schedule begins paused.
    """

    definition: dict[str, object]
    replace: bool = False
    dry_run: bool = False
    paused: bool = False
    reason: str = ""


class SchedulePause(Struct, frozen=True, forbid_unknown_fields=True):
    """Pause a schedule until `until_ms` (null: until it is resumed), or resume it."""

    on: bool
    until_ms: int | None = None
    reason: str = ""


class Backfill(Struct, frozen=True, forbid_unknown_fields=True):
    """Submit the jobs of the ticks in a range of time that have none; `dry_run` only lists them."""

    from_ms: int
    to_ms: int
    dry_run: bool = True


class NextRun(TypedDict):
    """A coming tick. start_ms: start of its job, with `spread`. until_ms: end of its hours."""

    at_ms: int
    local: str
    start_ms: int
    until_ms: int | None
    note: str


class ScheduleTick(TypedDict):
    """What became of a tick, or of `ticks` consecutive ones, the last at `last_ms`.

    ticks: 0 for a job that a user submitted now. tries: number of jobs; `job` is the last one.
    """

    at_ms: int
    local: str
    last_ms: int
    ticks: int
    outcome: str
    reason: str
    machine: str
    job: int | None
    tries: int
    started_ms: int | None
    ended_ms: int | None


class ScheduleCadence(TypedDict):
    """Intervals between ticks and between runs, and medians of the last runs, in seconds."""

    asked_s: float
    effective_s: float
    wait_s: float
    run_s: float
    drifting: bool
    sentence: str


class ScheduleSummary(TypedDict):
    """One schedule. is_own_zone: false if the zone is the master's. jobs: jobs that have not ended.

    error: why the stored definition cannot be used, else "".
    """

    name: str
    command: str
    summary: str
    when: str
    zone: str
    is_own_zone: bool
    where: str
    paused: bool
    paused_until_ms: int | None
    pause_reason: str
    error: str
    next_ms: int | None
    next_local: str
    jobs: list[int]
    last: ScheduleTick | None
    cadence: ScheduleCadence | None


class Schedules(TypedDict):
    """All schedules. zone: the master's time zone."""

    zone: str
    schedules: list[ScheduleSummary]


class ScheduleDetails(ScheduleSummary):
    definition: dict[str, object]
    submitter: str
    created_ms: int
    changed_ms: int
    next: list[NextRun]
    ticks: list[ScheduleTick]


class DefinedSchedule(TypedDict):
    """A stored or checked definition and its next runs. changed: false if it was stored already."""

    name: str
    changed: bool
    next: list[NextRun]


class PausedSchedule(TypedDict):
    name: str
    paused: bool


class ScheduledJobs(TypedDict):
    name: str
    jobs: list[int]


class BackfilledTick(TypedDict):
    """outcome: "ran" (it has a job), "to submit", "submitted", or "refused" with a reason."""

    at_ms: int
    local: str
    outcome: str
    job: int | None
    reason: str


class Backfilled(TypedDict):
    name: str
    ticks: list[BackfilledTick]
