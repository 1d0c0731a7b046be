"""Incidents and heartbeat calls that starts and ends of attempts cause."""

from __future__ import annotations

from collections.abc import Collection

from mythjobs.master.attempts.retry import RetryDecision
from mythjobs.master.machine import Machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.model import outcome as o
from mythjobs.model.command import RUN, Command
from mythjobs.model.heartbeat_url import FAILURE, START, SUCCESS, HeartbeatCall
from mythjobs.model.incident import Incident
from mythjobs.model.life import JobEvent
from mythjobs.store.writes import jobs


def is_noteworthy(turn: TurnContext, command_id: int, decision: RetryDecision) -> bool:
    """Return whether record_end_incidents() has anything to record; almost always it has not."""
    if decision.event is not JobEvent.SUCCEEDED and (
        decision.event is JobEvent.FAILED or decision.hold
    ):
        return True
    notify = turn.state.notify
    return command_id in notify.failing or command_id in notify.pinged


def record_end_incidents(
    turn: TurnContext,
    machine: Machine,
    job_id: int,
    n: int,
    class_id: int,
    outcome: o.Outcome,
    decision: RetryDecision,
) -> None:
    """Record the incident of an ended attempt, and its heartbeat call, if there are any."""
    found = turn.catalog.job_class(turn.tx, class_id)
    command, subject = found.command, f"command {found.command_id}"
    if command.notify.heartbeat:
        _call_at_end(turn, command, job_id, outcome, decision)
    if decision.event is JobEvent.SUCCEEDED:
        if found.command_id in turn.state.notify.failing:
            incident = Incident("recovered", subject, command.name, command=command.name)
            turn.incidents.append(incident)
        return
    if decision.event is JobEvent.FAILED:
        kind = "failed"
        # The user of `mythjobs run` waits for the exit code of the program.
        if command.name == RUN or _is_tried_again(turn, job_id):
            return
    elif decision.hold:
        kind = "held"
    else:
        return
    turn.incidents.append(
        Incident(
            kind,
            subject,
            command.name,
            decision.reason,
            command=command.name,
            job=job_id,
            n=n,
            machine=machine.name,
            machine_id=machine.machine_id,
            is_loss=isinstance(outcome, o.Lost),
            is_muted=is_muted(command, kind),
        )
    )


def _is_tried_again(turn: TurnContext, job_id: int) -> bool:
    """Return whether the job's schedule submits another job for the same tick."""
    found = turn.state.schedules.find_of_job(job_id)
    if found is None:
        return False
    state, tick = found
    return state.schedule is not None and tick.tries <= state.schedule.failures


def record_final_failure(
    turn: TurnContext, job_id: int, n: int, class_id: int, reason: str
) -> None:
    """Record the failure of a job for whose tick another one was to be submitted, but cannot be."""
    found = turn.catalog.job_class(turn.tx, class_id)
    name, subject = found.command.name, f"command {found.command_id}"
    muted = is_muted(found.command, "failed")
    turn.incidents.append(
        Incident("failed", subject, name, reason, name, job_id, n, is_muted=muted)
    )


def is_muted(command: Command, kind: str) -> bool:
    return command.notify.kinds is not None and kind not in command.notify.kinds


def has_heartbeat(turn: TurnContext, command_id: int, job_id: int) -> bool:
    """Return whether a job's command or schedule may have a heartbeat URL."""
    state = turn.state
    return command_id in state.notify.pinged or job_id in state.schedules.pinged_jobs


def record_start_call(turn: TurnContext, job_id: int, class_id: int) -> None:
    """Record the heartbeat calls at the start of an attempt: of its command and its schedule."""
    command = turn.catalog.job_class(turn.tx, class_id).command
    if command.notify.heartbeat:
        call = HeartbeatCall(command.notify.heartbeat, START, job_id, command.name)
        turn.heartbeat_calls.append(call)
    if found := turn.state.schedules.find_of_job(job_id):
        schedule = found[0].schedule
        if schedule is not None and schedule.heartbeat:
            call = HeartbeatCall(schedule.heartbeat, START, job_id, schedule.name)
            turn.heartbeat_calls.append(call)


def record_missed_deadlines(turn: TurnContext, job_ids: Collection[int]) -> None:
    """Record incidents of jobs that were cancelled at their deadline."""
    rows = jobs.read_flags(turn.tx, sorted(job_ids)) if job_ids else {}
    for row in rows.values():
        command = turn.catalog.job_class(turn.tx, row.class_id).command
        turn.incidents.append(
            Incident(
                "missed",
                f"command {row.command_id}",
                command.name,
                "the job had not started by its deadline",
                command=command.name,
                job=row.job_id,
                is_muted=is_muted(command, "missed"),
            )
        )


def _call_at_end(
    turn: TurnContext, command: Command, job_id: int, outcome: o.Outcome, decision: RetryDecision
) -> None:
    if decision.event is JobEvent.SUCCEEDED:
        event = SUCCESS
    elif decision.event is JobEvent.FAILED:
        event = FAILURE
    else:
        return
    code = outcome.code if isinstance(outcome, o.Exited) else None
    turn.heartbeat_calls.append(
        HeartbeatCall(
            command.notify.heartbeat, event, job_id, command.name, code, o.describe(outcome)
        )
    )
