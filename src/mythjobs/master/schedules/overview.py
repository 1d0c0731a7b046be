"""Overview of schedules for the API: next runs, past ticks, cadence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mythjobs.clock import Now
from mythjobs.errors import schedule_not_found
from mythjobs.master.schedule_state import ScheduleState
from mythjobs.master.schedules.handlers import complete_start, next_run_ms
from mythjobs.master.schedules.settlement import CADENCE_ROWS, cadence_of
from mythjobs.master.state import MasterState
from mythjobs.model.schedule import ANY_MACHINE, Every, Schedule, describe_when, schedule_from_table
from mythjobs.model.zone import format_zoned_time
from mythjobs.protocol import schedule_responses as responses
from mythjobs.protocol.responses import UnusableSchedule
from mythjobs.scheduler.catch_up import start_offset_ms
from mythjobs.scheduler.ticks import check_when, next_ticks
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import schedules, ticks
from mythjobs.store.writes.ticks import TickRow


def list_schedules(tx: Transaction, state: MasterState, now: Now) -> responses.Schedules:
    found = sorted(state.schedules.by_id.values(), key=lambda each: each.name)
    return {
        "zone": state.schedules.zone or "UTC",
        "schedules": [_summarize(each, _read_rows(tx, each, now)) for each in found],
    }


def list_unusable(state: MasterState) -> list[UnusableSchedule]:
    """Return the schedules that submit no jobs, because their definitions cannot be used."""
    return [
        {"name": each.name, "error": each.error}
        for each in sorted(state.schedules.by_id.values(), key=lambda each: each.name)
        if each.schedule is None
    ]


def show_schedule(
    tx: Transaction, state: MasterState, now: Now, name: str, *, past: int, coming: int
) -> responses.ScheduleDetails:
    """Return a schedule with its last `past` rows of ticks and next `coming` runs.

    Raises NoSuchSchedule.
    """
    found = state.schedules.find(name)
    row = schedules.find(tx, name)
    if found is None or row is None:
        raise schedule_not_found(name)
    rows = ticks.read_last(tx, found.schedule_id, _latest_ms(found, now), max(past, CADENCE_ROWS))
    machines = {each.machine_id: each.name for each in state.machines.values()}
    start_ms = next_run_ms(found)
    return {
        **_summarize(found, rows),
        "definition": json.loads(row.definition),
        "submitter": row.submitter,
        "created_ms": row.created_ms,
        "changed_ms": row.changed_ms,
        "next": []
        if start_ms is None or found.schedule is None
        else list_next(found.schedule, found.zone, start_ms - 1, coming),
        "ticks": [_show_tick(each, found.zone, machines) for each in rows[:past]],
    }


def preview(
    table: Mapping[str, object], state: MasterState, now: Now, coming: int
) -> list[responses.NextRun]:
    """Return the next runs of a definition, whether it is stored or not. Raises DefinitionError."""
    table = dict(table)
    schedule = check_when(schedule_from_table(table))
    if isinstance(schedule.when, Every) and schedule.when.start is None:
        table["start"] = complete_start(table, now.wall_ms, state.schedules.zone)
        schedule = schedule_from_table(table)
    zone = schedule.zone or state.schedules.zone
    return list_next(schedule, zone, now.wall_ms, coming)


def list_next(schedule: Schedule, zone: str, after_ms: int, coming: int) -> list[responses.NextRun]:
    return [
        {
            "at_ms": each.at_ms,
            "local": format_zoned_time(each.at_ms, zone),
            "start_ms": each.at_ms + start_offset_ms(schedule, each),
            "until_ms": each.until_ms,
            "note": each.note,
        }
        for each in next_ticks(schedule.when, zone, after_ms, coming)
    ]


def _latest_ms(state: ScheduleState, now: Now) -> int:
    # After the clock was set back, ticks that have a job may be in the future.
    return max(now.wall_ms, state.cursor_ms)


def _read_rows(tx: Transaction, state: ScheduleState, now: Now) -> list[TickRow]:
    return ticks.read_last(tx, state.schedule_id, _latest_ms(state, now), CADENCE_ROWS)


def _summarize(state: ScheduleState, rows: list[TickRow]) -> responses.ScheduleSummary:
    schedule = state.schedule
    next_ms = next_run_ms(state)
    cadence = cadence_of(rows) if rows else None
    last = rows[0] if rows else None
    return {
        "name": state.name,
        "command": state.command,
        "summary": schedule.summary if schedule else "",
        "when": describe_when(schedule.when) if schedule else "",
        "zone": state.zone or "UTC",
        "is_own_zone": bool(schedule and schedule.zone),
        "where": schedule.where if schedule else ANY_MACHINE,
        "paused": state.is_paused,
        "paused_until_ms": state.paused_until_ms,
        "pause_reason": state.pause_reason,
        "error": state.error,
        "next_ms": next_ms,
        "next_local": "" if next_ms is None else format_zoned_time(next_ms, state.zone),
        "jobs": [each.job_id for each in state.open],
        "last": None if last is None else _show_tick(last, state.zone, {}),
        "cadence": None
        if cadence is None
        else {
            "asked_s": cadence.asked_s,
            "effective_s": cadence.effective_s,
            "wait_s": cadence.wait_s,
            "run_s": cadence.run_s,
            "drifting": cadence.is_drifting,
            "sentence": cadence.describe(),
        },
    }


def _show_tick(row: TickRow, zone: str, machines: Mapping[int, str]) -> responses.ScheduleTick:
    return {
        "at_ms": row.tick_ms,
        "local": format_zoned_time(row.tick_ms, zone),
        "last_ms": row.last_ms,
        "ticks": row.ticks,
        "outcome": row.outcome,
        "reason": row.reason,
        "machine": machines.get(row.machine_id, ""),
        "job": row.job_id,
        "tries": row.tries,
        "started_ms": row.started_ms,
        "ended_ms": row.ended_ms,
    }
