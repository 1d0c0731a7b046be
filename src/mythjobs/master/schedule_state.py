"""State of the schedules in memory between turns: definitions, next ticks, jobs that have not
ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mythjobs.errors import DefinitionError
from mythjobs.model.schedule import Schedule, schedule_from_table
from mythjobs.model.tick import GapCause
from mythjobs.scheduler.catch_up import late_after_ms, start_offset_ms
from mythjobs.scheduler.ticks import Tick, check_when, next_tick_ms
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import schedules, ticks
from mythjobs.store.writes.schedules import ScheduleRow


class OpenTick(NamedTuple):
    """A tick whose job has not ended.

    late_ms: the instant at which the job is late if it has not started; None: that has passed.
    """

    job_id: int
    tick_ms: int
    machine_id: int
    tries: int
    late_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Missed ticks that several turns pass over, so far."""

    cause: GapCause
    first_ms: int
    last_ms: int
    count: int


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """One schedule. Instances are replaced, never changed.

    command: its name, "" if the stored definition has none. schedule: None if the definition cannot
    be used; `error` says why, and `report_ms` when it is reported next. zone: time zone of its
    ticks. next_ms: its next tick. gap: missed ticks of a gap that is not fully evaluated yet.
    """

    schedule_id: int
    name: str
    submitter: str
    command: str
    schedule: Schedule | None
    error: str
    zone: str
    cursor_ms: int
    next_ms: int | None
    is_paused: bool = False
    paused_until_ms: int | None = None
    pause_reason: str = ""
    is_drifting: bool = False
    open: tuple[OpenTick, ...] = ()
    gap: Gap | None = None
    report_ms: int | None = None

    @property
    def due_ms(self) -> int | None:
        """The next instant (wall clock) at which something about the schedule is to be decided."""
        times = [each.late_ms for each in self.open] if self.schedule else [self.report_ms]
        if self.is_paused:
            times.append(self.paused_until_ms)
        return min((each for each in (*times, self.next_ms) if each is not None), default=None)


@dataclass(slots=True)
class KnownSchedules:
    """All schedules, by id. Instances are replaced, never changed.

    zone: time zone of the master, for schedules without one. due_ms: the next instant (wall clock)
    at which a schedule is due. open_jobs: jobs of schedules that have not ended, of which
    pinged_jobs are those of schedules with a heartbeat URL.
    """

    zone: str = ""
    by_id: Mapping[int, ScheduleState] = field(default_factory=dict)
    due_ms: int | None = field(init=False)
    open_jobs: frozenset[int] = field(init=False)
    pinged_jobs: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        # Computed once, because each turn reads them.
        states = self.by_id.values()
        times = [each.due_ms for each in states]
        self.due_ms = min((each for each in times if each is not None), default=None)
        self.open_jobs = frozenset(each.job_id for state in states for each in state.open)
        self.pinged_jobs = frozenset(
            each.job_id
            for state in states
            if state.schedule is not None and state.schedule.heartbeat
            for each in state.open
        )

    def find(self, name: str) -> ScheduleState | None:
        return next((each for each in self.by_id.values() if each.name == name), None)

    def find_of_job(self, job_id: int) -> tuple[ScheduleState, OpenTick] | None:
        """Return the schedule and the tick of a job that has not ended, None if it has none."""
        if job_id not in self.open_jobs:
            return None
        pairs = ((state, each) for state in self.by_id.values() for each in state.open)
        return next(pair for pair in pairs if pair[1].job_id == job_id)

    def with_schedule(self, state: ScheduleState) -> KnownSchedules:
        return KnownSchedules(self.zone, {**self.by_id, state.schedule_id: state})

    def without_schedule(self, schedule_id: int) -> KnownSchedules:
        rest = {key: each for key, each in self.by_id.items() if key != schedule_id}
        return KnownSchedules(self.zone, rest)


def load_schedules(tx: Transaction, zone: str, now_ms: int) -> KnownSchedules:
    """Load all schedules from the store. zone: time zone of the master."""
    rows = schedules.read_all(tx)
    if not rows:
        return KnownSchedules(zone)
    found = {row.schedule_id: schedule_from_row(row, zone) for row in rows}
    for row in ticks.read_open(tx):
        state = found.get(row.schedule_id)
        if state is not None and row.job_id is not None:
            late_ms = _find_late_ms(state, row.tick_ms, now_ms)
            open_tick = OpenTick(row.job_id, row.tick_ms, row.machine_id, row.tries, late_ms)
            found[row.schedule_id] = replace(state, open=(*state.open, open_tick))
    return KnownSchedules(zone, found)


def _find_late_ms(state: ScheduleState, tick_ms: int, now_ms: int) -> int | None:
    """Return the instant at which a tick's job is late.

    None if it has passed: an incident may have been recorded before the master was restarted.
    """
    if state.schedule is None:
        return None
    next_ms = next_tick_ms(state.schedule.when, state.zone, tick_ms)
    offset_ms = start_offset_ms(state.schedule, Tick(tick_ms))
    late_ms = tick_ms + offset_ms + late_after_ms(state.schedule, tick_ms, next_ms)
    return late_ms if late_ms > now_ms else None


def schedule_from_row(row: ScheduleRow, master_zone: str) -> ScheduleState:
    """Decode a stored schedule; its open ticks are not known."""
    schedule: Schedule | None = None
    next_ms, error, zone, command = None, "", master_zone, ""
    try:
        table = json.loads(row.definition)
        command = str(table.get("command", ""))
        schedule = check_when(schedule_from_table(table))
        zone = schedule.zone or master_zone
        next_ms = next_tick_ms(schedule.when, zone, row.cursor_ms)
    except (ValueError, TypeError, KeyError, AttributeError, DefinitionError) as unreadable:
        schedule, error = None, str(unreadable)
    return ScheduleState(
        row.schedule_id,
        row.name,
        row.submitter,
        command,
        schedule,
        error,
        zone,
        row.cursor_ms,
        next_ms,
        bool(row.paused),
        row.paused_until_ms,
        row.pause_reason,
        bool(row.drifting),
    )
