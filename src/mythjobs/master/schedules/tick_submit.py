"""Submit of a tick's jobs: on any machine, one machine, or each machine; not two at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mythjobs.errors import BadRequest, MythJobsError, machine_not_found
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.machine import Machine
from mythjobs.master.requests import SubmitJob
from mythjobs.master.schedule_state import OpenTick, ScheduleState
from mythjobs.master.schedules.incidents import record_refused
from mythjobs.master.schedules.tick_log import TickLog
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.schedule import EACH_MACHINE, Schedule
from mythjobs.model.tick import (
    GAP_SENTENCES,
    GapCause,
    TickOutcome,
    tick_key,
)
from mythjobs.model.zone import to_local
from mythjobs.protocol.requests import Dependency, Submit
from mythjobs.scheduler.catch_up import (
    TickDecision,
    late_after_ms,
    latest_start_ms,
    start_offset_ms,
)
from mythjobs.scheduler.ticks import next_tick_ms
from mythjobs.store.writes import dependencies


def submit_tick(
    turn: TurnContext,
    state: ScheduleState,
    schedule: Schedule,
    decision: TickDecision,
    log: TickLog,
    cause: GapCause,
) -> ScheduleState:
    """Submit the job or jobs of a tick, and add its rows to the log. Return the new state."""
    reason = decision.reason
    if decision.is_catch_up:
        reason = f"caught up: {GAP_SENTENCES[cause]}" + (f"; {reason}" if reason else "")
    for machine in find_targets(turn, schedule):
        machine_id = machine.machine_id if machine and schedule.where == EACH_MACHINE else 0
        state = _submit_one(turn, state, schedule, decision, log, reason, machine, machine_id)
    return state


def find_targets(turn: TurnContext, schedule: Schedule) -> list[Machine | None]:
    """Return the machines for which a tick has a job each; None is a job for any machine."""
    machines = turn.state.machines.values()
    if schedule.where != EACH_MACHINE:
        return [next((each for each in machines if each.name == schedule.machine), None)]
    permitted = [
        each
        for each in machines
        if not each.is_revoked
        and each.rights.allows(schedule.command)
        and each.own.rights.allows(schedule.command)
    ]
    return [*sorted(permitted, key=lambda each: each.name)] or [None]


def _submit_one(
    turn: TurnContext,
    state: ScheduleState,
    schedule: Schedule,
    decision: TickDecision,
    log: TickLog,
    reason: str,
    machine: Machine | None,
    machine_id: int,
) -> ScheduleState:
    at_ms = decision.tick.at_ms
    if log.has(at_ms, machine_id):
        return state
    earlier = [each for each in state.open if each.machine_id == machine_id]
    after: list[int] = []
    if earlier and schedule.overlap != "allow":
        if not _may_wait(state, schedule, decision, earlier):
            sentence = f"job {earlier[0].job_id} of an earlier tick had not ended"
            log.add_without_job(at_ms, TickOutcome.OVERLAPPED, sentence, machine_id=machine_id)
            return state
        after = dependencies.find_last(turn.tx, [each.job_id for each in earlier])
    try:
        if machine is None and (schedule.machine or schedule.where == EACH_MACHINE):
            raise _no_machine(schedule)
        job_id, late_ms = submit_for_tick(
            turn, state, schedule, decision, machine, machine_id, after
        )
    except MythJobsError as error:
        _refuse(turn, state, log, at_ms, machine_id, error.sentence)
        return state
    log.add_job(at_ms, machine_id, job_id, reason)
    return replace(state, open=(*state.open, OpenTick(job_id, at_ms, machine_id, 1, late_ms)))


def _may_wait(
    state: ScheduleState, schedule: Schedule, decision: TickDecision, earlier: list[OpenTick]
) -> bool:
    """Return whether the job of a tick may wait for the jobs of earlier ticks."""
    if schedule.catch_up == "all":
        # Ticks that are caught up run one after the other, and the present tick after them.
        if decision.is_catch_up or earlier[-1].tick_ms > state.cursor_ms:
            return True
    return schedule.overlap == "queue" and len(earlier) < schedule.at_most


def _no_machine(schedule: Schedule) -> BadRequest:
    if schedule.machine:
        return machine_not_found(schedule.machine)
    return BadRequest(f"no machine is allowed to run {schedule.command}")


def submit_for_tick(
    turn: TurnContext,
    state: ScheduleState,
    schedule: Schedule,
    decision: TickDecision,
    machine: Machine | None,
    machine_id: int,
    after: Sequence[int],
) -> tuple[int, int]:
    """Submit a tick's job. Return its id, and the instant at which it is late.

    after: the jobs that have to end before. Raises a MythJobsError if the job is refused.
    """
    tick, now_ms = decision.tick, turn.now.wall_ms
    wanted_ms = tick.at_ms + start_offset_ms(schedule, tick)
    start_ms = max(now_ms, wanted_ms)
    submit = Submit(
        schedule.command,
        dict(schedule.arguments),
        priority=schedule.priority,
        after=[Dependency(each, "any") for each in after],
        key=tick_key(schedule.name, tick.at_ms, machine_id),
        not_before_ms=wanted_ms if wanted_ms > now_ms else None,
        deadline_ms=latest_start_ms(schedule, tick, start_ms),
        comment=f"{schedule.name}, {to_local(tick.at_ms, state.zone):%Y-%m-%d %H:%M %Z}",
        machine="" if machine is None else machine.name,
    )
    job_id, _ = submit_job(turn, SubmitJob(submit, state.submitter, is_serial=True))
    next_ms = next_tick_ms(schedule.when, state.zone, tick.at_ms)
    return job_id, start_ms + late_after_ms(schedule, tick.at_ms, next_ms)


def _refuse(
    turn: TurnContext,
    state: ScheduleState,
    log: TickLog,
    at_ms: int,
    machine_id: int,
    sentence: str,
) -> None:
    is_new = log.add_without_job(at_ms, TickOutcome.REFUSED, sentence, machine_id=machine_id)
    if is_new:
        record_refused(turn, state, sentence)
