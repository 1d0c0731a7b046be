"""Handlers of requests about jobs: cancel, hold, release, priority, freeze."""

from __future__ import annotations

from dataclasses import replace

from mythjobs.master import requests
from mythjobs.master.handlers.job_actions import (
    Unchanged,
    act_on_jobs,
    find_final_error,
    find_queued_error,
    find_unopened_error,
)
from mythjobs.master.handlers.submit import check_priority
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import JobState
from mythjobs.protocol.messages import USER_HOLDER, Freeze, Stop
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.writes import jobs, readiness


def cancel_jobs(turn: TurnContext, request: requests.CancelJobs) -> list[JobActionResult]:
    """Cancel queued jobs at once. Ask machines to stop live jobs, which are cancelled when
    they have ended."""

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        queued = [each.job_id for each in chosen if each.state == JobState.QUEUED]
        live = [each.job_id for each in chosen if each.state != JobState.QUEUED]
        if live:
            jobs.request_stop(turn.tx, live, request.by)
        for job_id in live:
            _send_stop(turn, job_id, request.by)
        if queued:
            turn.cancel_queued(queued, lambda _: f"cancelled by {request.by}")
        return [_describe_cancel(each) for each in chosen]

    return act_on_jobs(turn, request.ids, find_final_error, act)


def _describe_cancel(flags: jobs.JobFlags) -> str:
    if flags.state == JobState.QUEUED:
        return "cancelled"
    return Unchanged("already stopping") if flags.stop_requested else "stopping"


def _send_stop(turn: TurnContext, job_id: int, by: str) -> None:
    for machine in turn.state.machines.values():
        attempt = machine.live_attempts.get(job_id)
        if attempt is None:
            continue
        machine = turn.state.open_machine(machine.machine_id)
        machine.live_attempts[job_id] = replace(attempt, stop_requested_by=by)
        if machine.heartbeat_no:
            turn.send(machine, Stop(job_id, attempt.n, by))


def hold_jobs(turn: TurnContext, request: requests.HoldJobs) -> list[JobActionResult]:
    def check(flags: jobs.JobFlags) -> str:
        return find_queued_error(flags, "be held")

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        # A job that is held because it was lost keeps that reason.
        ids = [each.job_id for each in chosen if not each.hold]
        if ids:
            jobs.hold(turn.tx, ids, "held; `mythjobs release` lets it run")
            turn.held += ids
            turn.recheck(readiness.refresh(turn.tx, ids))
        return [Unchanged("already held") if each.hold else "held" for each in chosen]

    return act_on_jobs(turn, request.ids, check, act)


def set_priority(turn: TurnContext, request: requests.SetPriority) -> list[JobActionResult]:
    """Change the priority of queued jobs, and with it their order."""
    priority = check_priority(request.priority)

    def check(flags: jobs.JobFlags) -> str:
        return find_queued_error(flags, "get another priority")

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        ids = [each.job_id for each in chosen]
        jobs.set_priority(turn.tx, ids, priority)
        turn.recheck(readiness.refresh(turn.tx, ids))
        for each in chosen:
            if each.priority != priority:
                detail = f"{priority} instead of {each.priority}, by {request.by}"
                turn.add_event(each.job_id, 0, "priority", detail)
        return [f"has priority {priority}"] * len(ids)

    return act_on_jobs(turn, request.ids, check, act)


def release_jobs(turn: TurnContext, request: requests.ReleaseJobs) -> list[JobActionResult]:
    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        ids = [each.job_id for each in chosen if each.hold == 1]
        if ids:
            jobs.release(turn.tx, ids)
            turn.recheck(readiness.refresh(turn.tx, ids))
        for job_id in ids:
            turn.add_event(job_id, 0, "released")
        return ["released" if each.hold == 1 else _describe_not_held(each) for each in chosen]

    return act_on_jobs(turn, request.ids, _find_release_error, act)


def _describe_not_held(flags: jobs.JobFlags) -> Unchanged:
    if flags.state != JobState.QUEUED or flags.not_before_ms is None:
        return Unchanged("is not held")
    remedy = f"`mythjobs set {flags.job_id} --not-before now` starts it"
    return Unchanged(f"is not held; it waits for its start time, {remedy}")


def _find_release_error(flags: jobs.JobFlags) -> str:
    return find_final_error(flags) or find_unopened_error(flags)


def freeze_jobs(turn: TurnContext, request: requests.FreezeJobs) -> list[JobActionResult]:
    """Ask the jobs' machines to freeze or thaw jobs. Each machine reports the change when done.

    Fails for a job whose machine is disconnected, because the request is not stored.
    """

    def check(flags: jobs.JobFlags) -> str:
        return _send_freeze(turn, flags.job_id, flags.state, request.frozen)

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        return [_describe_freeze(turn, each.job_id, request.frozen) for each in chosen]

    return act_on_jobs(turn, request.ids, check, act)


def _describe_freeze(turn: TurnContext, job_id: int, is_frozen: bool) -> str:
    """Return the effect of a pause or resume, by the last report of the job's machine.

    The request is sent in any case: an opposite one may be on its way.
    """
    live = (each.live_attempts.get(job_id) for each in turn.state.machines.values())
    holders = next((each.frozen_by for each in live if each is not None), ())
    others = [each for each in holders if each != USER_HOLDER]
    if is_frozen:
        return Unchanged("is paused already") if USER_HOLDER in holders else "pausing"
    still = f"; it stays frozen by {', '.join(others)}" if others else ""
    if USER_HOLDER in holders:
        return f"resuming{still}"
    return Unchanged(f"is not paused by a user{still}")


def _send_freeze(turn: TurnContext, job_id: int, state: str, is_frozen: bool) -> str:
    """Ask a job's machine to freeze or thaw the job. Return "", or why that is not possible."""
    machines = turn.state.machines.values()
    machine = next((each for each in machines if job_id in each.live_attempts), None)
    if machine is None:
        if state != "queued":
            hint = ""
        elif is_frozen:
            hint = "; `mythjobs hold` keeps it from starting"
        else:
            hint = f"; if it is held, `mythjobs release {job_id}` lets it run"
        return f"job {job_id} is {state}, not running{hint}"
    if machine.connection is None or not machine.heartbeat_no:
        action = f"cannot {'pause' if is_frozen else 'resume'} job {job_id}"
        return f"{action}: machine {machine.name} is not connected; try again later"
    if "freeze" not in machine.capabilities:
        action = "freeze a job; cancel it, or let it run" if is_frozen else "thaw a job"
        return f"machine {machine.name} cannot {action}"
    n = machine.live_attempts[job_id].n
    turn.send(machine, Freeze(job_id, n, USER_HOLDER, is_frozen))
    return ""
