"""Handlers of requests about jobs: cancel, hold, release, priority, rerun, freeze."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers.submit import check_priority
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.messages import USER_HOLDER, Freeze, Stop
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.writes import batches, jobs, readiness

_MAX_JOBS = 10_000
# Columns that a rerun copies from the job that it repeats.
_COPIED_COLUMNS = ("command_id", "arguments", "subject", "overlap", "priority", "comment")


def _act_on_jobs(
    turn: TurnContext,
    ids: Sequence[int],
    check: Callable[[jobs.JobFlags], str],
    act: Callable[[list[jobs.JobFlags]], Sequence[str]],
) -> list[JobActionResult]:
    """Apply one action to many jobs in a few statements. Return one result for each id.

    check: returns why the action does not apply to a job, or "".
    act: applies the action to the jobs that passed `check`; returns for each the effect to show,
    such as "held".
    """
    if len(ids) > _MAX_JOBS:
        raise BadRequest(f"{len(ids)} jobs in one request; at most {_MAX_JOBS} are allowed")
    found = jobs.read_flags(turn.tx, ids)
    is_open = cache(lambda batch_id: batches.is_open(turn.tx, batch_id))

    def find_error(job_id: int) -> str:
        flags = found.get(job_id)
        is_unopened = flags is not None and flags.hold == batches.HOLD_UNOPENED
        if flags is None or (is_unopened and not (flags.batch_id and is_open(flags.batch_id))):
            return f"there is no job {job_id}"
        return check(flags)

    errors = [find_error(each) for each in ids]
    chosen = [found[each] for each, error in zip(ids, errors, strict=True) if not error]
    done = iter(act(chosen) if chosen else ())
    after = jobs.read_flags(turn.tx, ids)
    states = [after[job_id].state if job_id in after else "" for job_id in ids]
    return [
        JobActionResult(job_id, state, "" if error else next(done), error)
        for job_id, state, error in zip(ids, states, errors, strict=True)
    ]


def _final_error(flags: jobs.JobFlags) -> str:
    if flags.state in FINAL:
        return f"job {flags.job_id} has already ended ({flags.state})"
    return ""


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
        return ["cancelled" if each.state == JobState.QUEUED else "stopping" for each in chosen]

    return _act_on_jobs(turn, request.ids, _final_error, act)


def _send_stop(turn: TurnContext, job_id: int, by: str) -> None:
    for machine in turn.state.machines.values():
        attempt = machine.live_attempts.get(job_id)
        if attempt is None:
            continue
        machine = turn.state.open_machine(machine.machine_id)
        machine.live_attempts[job_id] = replace(attempt, stop_requested_by=by)
        if machine.heartbeat_no:
            turn.send(machine, Stop(job_id, attempt.n, by))


def _find_queued_error(flags: jobs.JobFlags, action: str) -> str:
    """Return why an action that only queued jobs allow is refused for a job, or ""."""
    if flags.state != JobState.QUEUED:
        error = f"job {flags.job_id} is {flags.state}; only queued jobs can {action}"
        return _final_error(flags) or error
    if flags.hold == batches.HOLD_UNOPENED:
        return f"job {flags.job_id} is part of a batch that is being opened; try again shortly"
    return ""


def hold_jobs(turn: TurnContext, request: requests.HoldJobs) -> list[JobActionResult]:
    def check(flags: jobs.JobFlags) -> str:
        return _find_queued_error(flags, "be held")

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        ids = [each.job_id for each in chosen]
        jobs.hold(turn.tx, ids, "held; `mythjobs release` lets it run")
        turn.held += ids
        turn.recheck(readiness.refresh(turn.tx, ids))
        return ["held"] * len(ids)

    return _act_on_jobs(turn, request.ids, check, act)


def set_priority(turn: TurnContext, request: requests.SetPriority) -> list[JobActionResult]:
    """Change the priority of queued jobs, and with it their order."""
    priority = check_priority(request.priority)

    def check(flags: jobs.JobFlags) -> str:
        return _find_queued_error(flags, "get another priority")

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        ids = [each.job_id for each in chosen]
        jobs.set_priority(turn.tx, ids, priority)
        turn.recheck(readiness.refresh(turn.tx, ids))
        for each in chosen:
            if each.priority != priority:
                detail = f"{priority} instead of {each.priority}, by {request.by}"
                turn.add_event(each.job_id, 0, "priority", detail)
        return [f"has priority {priority}"] * len(ids)

    return _act_on_jobs(turn, request.ids, check, act)


def release_jobs(turn: TurnContext, request: requests.ReleaseJobs) -> list[JobActionResult]:
    def check(flags: jobs.JobFlags) -> str:
        if flags.hold != 1 or flags.state != JobState.QUEUED:
            return _final_error(flags) or f"job {flags.job_id} is not held"
        return ""

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        ids = [each.job_id for each in chosen]
        jobs.release(turn.tx, ids)
        turn.recheck(readiness.refresh(turn.tx, ids))
        for job_id in ids:
            turn.add_event(job_id, 0, "released")
        return ["released"] * len(ids)

    return _act_on_jobs(turn, request.ids, check, act)


def rerun_jobs(turn: TurnContext, request: requests.RerunJobs) -> list[JobActionResult]:
    """Submit a copy of each ended job, with the same command revision and arguments."""
    new_class = cache(
        lambda class_id: turn.catalog.class_id_for(turn.tx, class_id, request.submitter)
    )

    def check(flags: jobs.JobFlags) -> str:
        if flags.state not in FINAL:
            return f"job {flags.job_id} has not ended yet ({flags.state})"
        if new_class(flags.class_id) is None:
            return f"the command of job {flags.job_id} was removed"
        return ""

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        old = jobs.read_submissions(turn.tx, [each.job_id for each in chosen])
        first = turn.allocate_ids(len(chosen))
        rows = []
        for job_id, flags in enumerate(chosen, first):
            class_id = new_class(flags.class_id)
            assert class_id is not None
            copied = {name: old[flags.job_id][name] for name in _COPIED_COLUMNS}
            rows.append(
                jobs.NewJob(
                    job_id=job_id,
                    submitted_ms=turn.now.wall_ms,
                    ready_class=None if flags.subject else class_id,
                    rerun_of=flags.job_id,
                    class_id=class_id,
                    **copied,
                )
            )
        jobs.add(turn.tx, rows)
        turn.changed_subjects |= {each.subject for each in rows if each.subject}
        turn.recheck({each.class_id for each in rows})
        return [str(each.job_id) for each in rows]

    return _act_on_jobs(turn, request.ids, check, act)


def freeze_jobs(turn: TurnContext, request: requests.FreezeJobs) -> list[JobActionResult]:
    """Ask the jobs' machines to freeze or thaw jobs. Each machine reports the change when done.

    Fails for a job whose machine is disconnected, because the request is not stored.
    """

    def check(flags: jobs.JobFlags) -> str:
        return _send_freeze(turn, flags.job_id, flags.state, request.frozen)

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        return ["pausing" if request.frozen else "resuming"] * len(chosen)

    return _act_on_jobs(turn, request.ids, check, act)


def _send_freeze(turn: TurnContext, job_id: int, state: str, frozen: bool) -> str:
    """Ask a job's machine to freeze or thaw the job. Return "", or why that is not possible."""
    machines = turn.state.machines.values()
    machine = next((each for each in machines if job_id in each.live_attempts), None)
    if machine is None:
        hint = "; `mythjobs hold` keeps it from starting" if state == "queued" else ""
        return f"job {job_id} is {state}, not running{hint}"
    if machine.connection is None or not machine.heartbeat_no:
        action = f"cannot {'pause' if frozen else 'resume'} job {job_id}"
        return f"{action}: machine {machine.name} is not connected; try again later"
    if "freeze" not in machine.capabilities:
        action = "freeze a job; cancel it, or let it run" if frozen else "thaw a job"
        return f"machine {machine.name} cannot {action}"
    n = machine.live_attempts[job_id].n
    turn.send(machine, Freeze(job_id, n, USER_HOLDER, frozen))
    return ""
