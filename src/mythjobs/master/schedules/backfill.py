"""Backfill of a schedule: submits the jobs of past ticks that have none."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mythjobs.errors import BadRequest, MythJobsError
from mythjobs.master.schedule_state import OpenTick, ScheduleState
from mythjobs.master.schedules.handlers import find_last_jobs, find_schedule, store_state, usable
from mythjobs.master.schedules.requests import BackfillSchedule, BackfillTick
from mythjobs.master.schedules.tick_submit import find_targets, submit_for_tick
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.schedule import EACH_MACHINE, Schedule
from mythjobs.model.tick import TickOutcome, tick_key
from mythjobs.scheduler.catch_up import TickDecision
from mythjobs.scheduler.ticks import Tick, count_ticks, iterate_ticks, next_tick_ms
from mythjobs.store.writes import jobs, ticks
from mythjobs.store.writes.ticks import TickRow

MAX_TICKS: Final = 500


def backfill_schedule(turn: TurnContext, request: BackfillSchedule) -> list[BackfillTick]:
    """Submit the jobs of the ticks in [from_ms, to_ms] that have none, one after the other.

    Raises NoSuchSchedule, Conflict if the schedule cannot be read, BadRequest for a range without
    ticks, with too many, or that ends in the future.
    """
    state = find_schedule(turn, request.name)
    schedule = usable(state)
    found = _list_ticks(turn, state, schedule, request)
    turn.flush_new_jobs()
    rows = _rows_of(turn, state, found)
    with_job = {(each.tick_ms, each.machine_id): each.job_id for each in rows if each.job_id}
    results: list[BackfillTick] = []
    new: list[TickRow] = []
    last = find_last_jobs(turn, state)
    for tick in found:
        for machine in find_targets(turn, schedule):
            machine_id = machine.machine_id if machine and schedule.where == EACH_MACHINE else 0
            job_id = with_job.get((tick.at_ms, machine_id)) or _find_job(
                turn, tick_key(schedule.name, tick.at_ms, machine_id)
            )
            if job_id is not None:
                results.append(BackfillTick(tick.at_ms, "ran", job_id))
                continue
            if request.dry_run:
                results.append(BackfillTick(tick.at_ms, "to submit"))
                continue
            after = [] if schedule.overlap == "allow" else last.get(machine_id, [])
            # The hours of a past tick are over; its job may start at any time, as it waits for the
            # jobs before it.
            now = TickDecision(tick._replace(until_ms=None), None)
            anytime = replace(schedule, start_within_s=None)
            try:
                job_id, _ = submit_for_tick(turn, state, anytime, now, machine, machine_id, after)
            except MythJobsError as error:
                results.append(BackfillTick(tick.at_ms, "refused", None, error.sentence))
                continue
            last[machine_id] = [job_id]
            results.append(BackfillTick(tick.at_ms, "submitted", job_id))
            new.append(
                TickRow(
                    state.schedule_id, tick.at_ms, machine_id, tick.at_ms, 1,
                    TickOutcome.SUBMITTED, "backfill", job_id, 1,
                )
            )  # fmt: skip
    if new:
        _store(turn, state, schedule, rows, new)
    return results


def _list_ticks(
    turn: TurnContext, state: ScheduleState, schedule: Schedule, request: BackfillSchedule
) -> list[Tick]:
    if request.to_ms > turn.now.wall_ms:
        raise BadRequest(
            f"the end of the range, {turn.format_time(request.to_ms)}, is in the future; a "
            "backfill submits the jobs of past ticks"
        )
    if request.from_ms > request.to_ms:
        begin, end = (turn.format_time(each) for each in (request.from_ms, request.to_ms))
        raise BadRequest(f"the range begins at {begin}, after its end at {end}")
    found: list[Tick] = []
    for each in iterate_ticks(schedule.when, state.zone, request.from_ms - 1):
        if each.at_ms > request.to_ms:
            break
        if each.runs:
            found.append(each)
        if len(found) > MAX_TICKS:
            raise BadRequest(
                f"the range has more than {MAX_TICKS} ticks; backfill a shorter one first"
            )
    if not found:
        raise BadRequest(f"schedule {state.name} has no ticks in this range")
    return found


def _rows_of(turn: TurnContext, state: ScheduleState, found: list[Tick]) -> list[TickRow]:
    """Return the rows that the ticks may have, and of several ticks those that include them."""
    first_ms, last_ms = found[0].at_ms, found[-1].at_ms
    before = [
        each
        for each in ticks.read_last(turn.tx, state.schedule_id, first_ms - 1, 100)
        if each.last_ms >= first_ms
    ]
    return before + ticks.read_between(turn.tx, state.schedule_id, first_ms, last_ms)


def _find_job(turn: TurnContext, key: str) -> int | None:
    found = jobs.find_by_key(turn.tx, key)
    return None if found is None else found[0]


def _store(
    turn: TurnContext,
    state: ScheduleState,
    schedule: Schedule,
    rows: list[TickRow],
    new: list[TickRow],
) -> None:
    """Store the rows of the submitted jobs; take these ticks out of the rows that included them."""
    submitted = sorted({each.tick_ms for each in new})
    for row in rows:
        inside = [each for each in submitted if row.tick_ms <= each <= row.last_ms]
        if row.job_id is None and inside:
            _take_out(turn, state, schedule, row, inside)
    ticks.add(turn.tx, new)
    opened = tuple(
        OpenTick(each.job_id, each.tick_ms, each.machine_id, 1)
        for each in new
        if each.job_id is not None
    )
    store_state(turn, replace(state, open=(*state.open, *opened)))


def _take_out(
    turn: TurnContext, state: ScheduleState, schedule: Schedule, row: TickRow, inside: list[int]
) -> None:
    """Replace a row of several ticks by the rows of the ticks before and after `inside`."""
    ticks.remove(turn.tx, row)
    rest = row.ticks - len(inside)
    if row.tick_ms < inside[0]:
        count, last_ms = count_ticks(schedule.when, state.zone, row.tick_ms, inside[0] - 1)
        ticks.add(turn.tx, [row._replace(last_ms=last_ms, ticks=count)])
        rest -= count
    first_ms = next_tick_ms(schedule.when, state.zone, inside[-1])
    if rest > 0 and first_ms is not None and first_ms <= row.last_ms:
        ticks.add(turn.tx, [row._replace(tick_ms=first_ms, ticks=rest)])
