"""Handlers of requests about schedules: add, replace, remove, pause, run now."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from dataclasses import replace
from typing import Final

from mythjobs.errors import BadRequest, Conflict, schedule_not_found
from mythjobs.master.handlers.submit import encode_job_arguments, submit_job
from mythjobs.master.notify.handlers import end_notifications
from mythjobs.master.requests import SubmitJob
from mythjobs.master.schedule_state import OpenTick, ScheduleState, schedule_from_row
from mythjobs.master.schedules import requests
from mythjobs.master.schedules.evaluation import evaluate_before_change
from mythjobs.master.schedules.tick_submit import find_targets
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.contradictions import new_schedule_from_table
from mythjobs.model.schedule import EACH_MACHINE, Every, Schedule, schedule_from_table
from mythjobs.model.tick import TickOutcome, tick_key
from mythjobs.model.zone import to_local
from mythjobs.protocol.requests import Dependency, Submit
from mythjobs.scheduler.ticks import check_when, next_tick_ms
from mythjobs.store.writes import dependencies, schedules, ticks
from mythjobs.store.writes.ticks import NOT_OF_CALENDAR, TickRow

MAX_SCHEDULES: Final = 1000
_MAX_REASON: Final = 1000


def find_schedule(turn: TurnContext, name: str) -> ScheduleState:
    """Return a schedule. Raises NoSuchSchedule."""
    found = turn.state.schedules.find(name)
    if found is None:
        raise schedule_not_found(name)
    return found


def usable(state: ScheduleState) -> Schedule:
    """Return the definition of a schedule. Raises Conflict if it cannot be read."""
    if state.schedule is None:
        raise Conflict(f"schedule {state.name} cannot be used: {state.error}")
    return state.schedule


def define_schedule(turn: TurnContext, request: requests.DefineSchedule) -> bool:
    """Add or replace a schedule; return whether that changed anything.

    Raises DefinitionError, NoSuchCommand, NoSuchMachine, BadRequest for wrong arguments, Conflict
    if the name is taken and `replace` is not set.
    """
    definition = dict(request.definition)
    schedule = check_when(schedule_from_table(definition))
    known = turn.state.schedules
    current = known.find(schedule.name)
    if current is not None and not request.replace and not request.dry_run:
        raise Conflict(
            f'the name "{schedule.name}" is taken; change it with `mythjobs schedule edit '
            f"{schedule.name}`, or choose another"
        )
    if current is None and len(known.by_id) >= MAX_SCHEDULES:
        raise Conflict(f"there are {MAX_SCHEDULES} schedules; remove some of them first")
    _check_submit(turn, schedule)
    _check_reason(request.reason, paused=request.paused)
    if isinstance(schedule.when, Every) and schedule.when.start is None:
        definition["start"] = complete_start(definition, turn.now.wall_ms, known.zone)
    if request.dry_run:
        new_schedule_from_table(definition)
        return current is None
    now_ms = turn.now.wall_ms
    if current is None:
        new_schedule_from_table(definition)
        row = schedules.add(
            turn.tx, schedule.name, definition, request.submitter, at_ms=now_ms,
            paused=request.paused, reason=request.reason if request.paused else "",
        )  # fmt: skip
    else:
        found = schedules.find(turn.tx, schedule.name)
        assert found is not None
        if _is_same(found.definition, definition):
            return False
        new_schedule_from_table(definition)
        current = evaluate_before_change(turn, current)
        # Of an unusable definition no tick was decided: the new one makes up for those since.
        cursor_ms = current.cursor_ms if current.schedule is None else now_ms
        schedules.redefine(
            turn.tx, current.schedule_id, definition, at_ms=now_ms, cursor_ms=cursor_ms
        )
        row = schedules.find(turn.tx, schedule.name) or found
    state = schedule_from_row(row, known.zone)
    if current is not None:
        state = replace(state, open=current.open)
    store_state(turn, state)
    return True


def store_state(turn: TurnContext, state: ScheduleState) -> None:
    if not turn.state.schedules.by_id and turn.state.schedule_clocks is None:
        turn.state.schedule_clocks = turn.now
    turn.state.schedules = turn.state.schedules.with_schedule(state)
    if (due_ms := state.due_ms) is not None:
        turn.state.schedule_turn(due_ms)


def _is_same(stored: str, definition: dict[str, object]) -> bool:
    return bool(json.loads(stored) == definition)


def complete_start(definition: dict[str, object], now_ms: int, master_zone: str) -> str:
    """Return the midnight that begins this day in a definition's zone, like `2026-11-03 00:00`."""
    zone = definition.get("zone") or master_zone
    day: dt.date = to_local(now_ms, str(zone)).date()
    return f"{day} 00:00"


def _check_submit(turn: TurnContext, schedule: Schedule) -> None:
    """Check that the job of a tick would be accepted. Raises what the submit would raise."""
    revision = turn.catalog.find_command(turn.tx, schedule.command)
    if schedule.command == "run":
        raise BadRequest('command: "run" is built in; define a command and schedule that')
    encode_job_arguments(turn.catalog.decoded_command(revision), dict(schedule.arguments), None)
    if schedule.machine:
        turn.state.find_machine(schedule.machine)


def remove_schedule(turn: TurnContext, request: requests.RemoveSchedule) -> str:
    """Remove a schedule and its ticks; its jobs stay. Raises NoSuchSchedule."""
    state = find_schedule(turn, request.name)
    schedules.remove(turn.tx, state.schedule_id)
    turn.state.schedules = turn.state.schedules.without_schedule(state.schedule_id)
    end_notifications(turn, f"schedule {state.schedule_id}")
    return request.name


def pause_schedule(turn: TurnContext, request: requests.PauseSchedule) -> bool:
    """Pause or resume a schedule; return whether it is paused.

    Raises NoSuchSchedule, BadRequest.
    """
    state = find_schedule(turn, request.name)
    until_ms, reason = request.until_ms, request.reason
    if until_ms is not None and not request.on:
        raise BadRequest("until: is for a pause; a schedule is resumed at once")
    if until_ms is not None and until_ms <= turn.now.wall_ms:
        end = turn.format_time(until_ms)
        raise BadRequest(f"the end of the pause, {end}, is in the past; give a later time")
    _check_reason(reason, paused=request.on)
    state = evaluate_before_change(turn, state)
    schedules.set_pause(
        turn.tx, state.schedule_id, paused=request.on, until_ms=until_ms, reason=reason
    )
    store_state(
        turn,
        replace(state, is_paused=request.on, paused_until_ms=until_ms, pause_reason=reason),
    )
    return request.on


def _check_reason(reason: str, *, paused: bool) -> None:
    if reason and not paused:
        raise BadRequest("reason: is for a pause; remove it, or pause the schedule")
    if len(reason) > _MAX_REASON or "\0" in reason:
        raise BadRequest(f"reason: must have at most {_MAX_REASON} characters, without NUL")


def run_now(turn: TurnContext, request: requests.RunSchedule) -> list[int]:
    """Submit a job of a schedule now, or one for each of its machines; return their ids.

    The calendar does not change. Raises NoSuchSchedule, Conflict if an earlier job has not ended,
    and what a submit raises.
    """
    state = find_schedule(turn, request.name)
    schedule = usable(state)
    at_ms = _free_instant_ms(turn, state)
    ids: list[int] = []
    last = find_last_jobs(turn, state)
    targets = find_targets(turn, schedule)
    if targets == [None] and (schedule.machine or schedule.where == EACH_MACHINE):
        raise Conflict(f"no machine is allowed to run {schedule.command}")
    if schedule.overlap == "skip" and state.open:
        live = min(each.job_id for each in state.open)
        raise Conflict(
            f"job {live} of {state.name} has not ended; wait for it (`mythjobs wait {live}`), "
            "or cancel it"
        )
    for machine in targets:
        machine_id = machine.machine_id if machine and schedule.where == EACH_MACHINE else 0
        after = [] if schedule.overlap == "allow" else last.get(machine_id, [])
        submit = Submit(
            schedule.command,
            dict(schedule.arguments),
            priority=schedule.priority,
            after=[Dependency(each, "any") for each in after],
            key=tick_key(schedule.name, at_ms, machine_id),
            comment=f"{schedule.name}, run now",
            machine="" if machine is None else machine.name,
        )
        job_id, _ = submit_job(turn, SubmitJob(submit, request.submitter, is_serial=True))
        ids.append(job_id)
        state = replace(state, open=(*state.open, OpenTick(job_id, at_ms, machine_id, 1)))
        ticks.add(
            turn.tx,
            [
                TickRow(
                    state.schedule_id, at_ms, machine_id, at_ms, NOT_OF_CALENDAR,
                    TickOutcome.SUBMITTED, f"run now by {request.submitter}", job_id, 1,
                )
            ],
        )  # fmt: skip
    store_state(turn, state)
    return ids


def find_last_jobs(turn: TurnContext, state: ScheduleState) -> dict[int, list[int]]:
    """Return the jobs that another job has to wait for, by the machine of their ticks.

    With them it waits for all jobs that have not ended.
    """
    found: defaultdict[int, list[int]] = defaultdict(list)
    for each in state.open:
        found[each.machine_id].append(each.job_id)
    return {key: dependencies.find_last(turn.tx, each) for key, each in found.items()}


def _free_instant_ms(turn: TurnContext, state: ScheduleState) -> int:
    """Return an instant from now on that identifies a run: no tick and no other run has it."""
    at_ms = turn.now.wall_ms
    taken = {each.tick_ms for each in state.open}
    while at_ms % 1000 == 0 or at_ms in taken:  # ticks are at full seconds
        at_ms += 1
    return at_ms


def next_run_ms(state: ScheduleState) -> int | None:
    """Return the next tick that is not in a pause."""
    if state.schedule is None or (state.is_paused and state.paused_until_ms is None):
        return None
    if state.is_paused and state.paused_until_ms is not None:
        return next_tick_ms(state.schedule.when, state.zone, state.paused_until_ms - 1)
    return state.next_ms
