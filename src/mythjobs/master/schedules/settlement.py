"""Settlement of ticks: ends of their jobs, further jobs after failures."""

from __future__ import annotations

from dataclasses import replace

from mythjobs.errors import MythJobsError
from mythjobs.master.attempts.job_incidents import record_final_failure
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.isolation import Unit
from mythjobs.master.requests import SubmitJob
from mythjobs.master.schedule_state import OpenTick, ScheduleState
from mythjobs.master.schedules.incidents import record_drift
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.heartbeat_url import FAILURE, SUCCESS, HeartbeatCall
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.schedule import Schedule
from mythjobs.model.tick import TickOutcome, tick_key
from mythjobs.model.zone import to_local
from mythjobs.protocol.requests import Dependency, Submit
from mythjobs.scheduler.cadence import Cadence, PastTick, measure_cadence
from mythjobs.scheduler.catch_up import latest_start_ms
from mythjobs.scheduler.ticks import Tick, iterate_ticks
from mythjobs.store.writes import dependencies, schedules, ticks
from mythjobs.store.writes.ticks import JobEnd, TickRow

# Number of rows that the cadence is computed from.
CADENCE_ROWS = 60


def settle_ended(turn: TurnContext, *, all_open: bool) -> None:
    """Record the ends of schedules' jobs that have ended in this turn.

    all_open: also of those that may have ended before.
    """
    if not all_open and turn.state.schedules.open_jobs.isdisjoint(turn.ended):
        return
    ended = set(turn.ended)
    for state in list(turn.state.schedules.by_id.values()):
        found = [each for each in state.open if all_open or each.job_id in ended]
        if found:
            turn.working_on = Unit("schedule", state.schedule_id)
            turn.flush_new_jobs()
            _settle(turn, state, found)
            turn.working_on = None


def _settle(turn: TurnContext, state: ScheduleState, found: list[OpenTick]) -> None:
    jobs = ticks.read_jobs(turn.tx, [each.job_id for each in found])
    left = [each for each in state.open if each not in found]
    has_ended = False
    for each in found:
        job = jobs.get(each.job_id)
        again: OpenTick | None = each
        if job is None or job.state in FINAL:
            again = None if job is None else _submit_again(turn, state, each, job, left)
        if again is not None:
            left.append(again)
            continue
        has_ended = True
        if state.schedule is not None and state.schedule.heartbeat and job is not None:
            _call_at_end(turn, state.schedule, each, job)
        ticks.set_end(turn.tx, _ended_row(state, each, job))
    state = replace(state, open=tuple(sorted(left, key=lambda each: each.job_id)))
    if has_ended:
        state = _check_drift(turn, state)
    turn.state.schedules = turn.state.schedules.with_schedule(state)


def _call_at_end(turn: TurnContext, schedule: Schedule, tick: OpenTick, job: JobEnd) -> None:
    """Record the call of the schedule's heartbeat URL at the end of a tick's last job."""
    event = SUCCESS if job.state == JobState.SUCCEEDED else FAILURE
    call = HeartbeatCall(schedule.heartbeat, event, tick.job_id, schedule.name, detail=job.reason)
    turn.heartbeat_calls.append(call)


def _ended_row(state: ScheduleState, tick: OpenTick, job: JobEnd | None) -> TickRow:
    """Return the row of a tick whose job has ended; only the columns that set_end() writes."""
    row = TickRow(
        state.schedule_id, tick.tick_ms, tick.machine_id, tick.tick_ms, 1, "", "", tick.job_id
    )
    if job is None:
        return row._replace(outcome=TickOutcome.CANCELLED, reason="its job was deleted")
    outcome = TickOutcome(job.state)
    if outcome is TickOutcome.CANCELLED and job.reason_code == "deadline_passed":
        outcome = TickOutcome.EXPIRED
    return row._replace(
        outcome=outcome, reason=job.reason, started_ms=job.started_ms, ended_ms=job.ended_ms
    )


def _submit_again(
    turn: TurnContext, state: ScheduleState, tick: OpenTick, job: JobEnd, left: list[OpenTick]
) -> OpenTick | None:
    """Submit a further job for a tick whose job has failed; None if it has no retries left.

    left: ticks whose jobs have not ended. The further job runs after all of them.
    """
    schedule = state.schedule
    if schedule is None or job.state != JobState.FAILED or tick.tries > schedule.failures:
        return None
    machine = turn.state.machines.get(tick.machine_id)
    start_ms = turn.now.wall_ms + round(1000 * schedule.backoff_s)
    waiting = [each.job_id for each in left if each.machine_id == tick.machine_id]
    after = [] if schedule.overlap == "allow" else dependencies.find_last(turn.tx, waiting)
    submit = Submit(
        schedule.command,
        dict(schedule.arguments),
        priority=schedule.priority,
        after=[Dependency(each, "any") for each in after],
        key=f"{tick_key(schedule.name, tick.tick_ms, tick.machine_id)}#{tick.tries + 1}",
        not_before_ms=start_ms,
        deadline_ms=_latest_start_ms(state, schedule, tick.tick_ms, start_ms),
        comment=f"{schedule.name}, {to_local(tick.tick_ms, state.zone):%Y-%m-%d %H:%M %Z}, "
        f"run {tick.tries + 1}",
        machine=schedule.machine if machine is None else machine.name,
    )
    try:
        job_id, _ = submit_job(turn, SubmitJob(submit, state.submitter, is_serial=True))
    except MythJobsError as error:
        # The hours end before that start, or the command was changed or removed: no further job.
        reason = f"{job.reason}; not tried again: {error.sentence}"
        record_final_failure(turn, job.job_id, job.attempts, job.class_id, reason)
        return None
    row = TickRow(
        state.schedule_id, tick.tick_ms, tick.machine_id, tick.tick_ms, 1, "",
        f"job {tick.job_id} failed", job_id, tick.tries + 1,
    )  # fmt: skip
    ticks.set_job(turn.tx, row)
    return OpenTick(job_id, tick.tick_ms, tick.machine_id, tick.tries + 1)


def _latest_start_ms(
    state: ScheduleState, schedule: Schedule, tick_ms: int, start_ms: int
) -> int | None:
    found = next(iterate_ticks(schedule.when, state.zone, tick_ms - 1), None)
    tick = found if found is not None and found.at_ms == tick_ms else Tick(tick_ms)
    return latest_start_ms(schedule, tick, start_ms)


def _check_drift(turn: TurnContext, state: ScheduleState) -> ScheduleState:
    """Record an incident if a schedule begins to drift."""
    rows = ticks.read_last(turn.tx, state.schedule_id, turn.now.wall_ms, CADENCE_ROWS)
    cadence = cadence_of(rows)
    is_drifting = cadence is not None and cadence.is_drifting
    if is_drifting == state.is_drifting:
        return state
    if cadence is not None and is_drifting:
        record_drift(turn, state, cadence)
    schedules.set_drifting(turn.tx, state.schedule_id, is_drifting)
    return replace(state, is_drifting=is_drifting)


def cadence_of(rows: list[TickRow]) -> Cadence | None:
    """Return the cadence of a schedule from its last rows, newest first; of one machine, if it runs
    on each."""
    return measure_cadence(
        [
            PastTick(
                each.tick_ms,
                each.last_ms,
                each.ticks,
                TickOutcome(each.outcome),
                each.started_ms,
                each.ended_ms,
            )
            for each in rows
            if each.machine_id == rows[0].machine_id and each.ticks
        ]
    )
