"""Handlers of requests about jobs: cancel, hold, release, rerun, freeze."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.state import USER_HOLDER
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.messages import Freeze, Stop
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.writes import batches, commands, jobs, readiness

_MAX_JOBS = 10_000


def _apply_to_each(
    turn: TurnContext, ids: Sequence[int], act: Callable[[jobs.JobFlags], tuple[str, str]]
) -> list[JobActionResult]:
    """Apply `act` to each visible job. `act` returns what was done, or "" and an error."""
    if len(ids) > _MAX_JOBS:
        raise BadRequest(f"{len(ids)} jobs in one request; at most {_MAX_JOBS} are allowed")
    found = jobs.read_flags(turn.tx, ids)
    results = []
    for job_id in ids:
        flags = found.get(job_id)
        if flags is None or (flags.hold == batches.HOLD_UNOPENED and not _is_visible(turn, flags)):
            results.append(("", f"there is no job {job_id}"))
        else:
            results.append(act(flags))
    after = jobs.read_flags(turn.tx, ids)
    states = [after[job_id].state if job_id in after else "" for job_id in ids]
    return [
        JobActionResult(job_id, state, done, error)
        for job_id, state, (done, error) in zip(ids, states, results, strict=True)
    ]


def _is_visible(turn: TurnContext, flags: jobs.JobFlags) -> bool:
    return flags.batch_id is not None and batches.is_open(turn.tx, flags.batch_id)


def _final_error(flags: jobs.JobFlags) -> tuple[str, str] | None:
    if flags.state in FINAL:
        return "", f"job {flags.job_id} has already ended ({flags.state})"
    return None


def cancel_jobs(turn: TurnContext, request: requests.CancelJobs) -> list[JobActionResult]:
    """Cancel queued jobs at once; send a stop for live ones, which end when they have stopped."""

    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.state == JobState.QUEUED:
            turn.cancel_queued([flags.job_id], lambda _: f"cancelled by {request.by}")
            return "cancelled", ""
        if (error := _final_error(flags)) is not None:
            return error
        jobs.request_stop(turn.tx, [flags.job_id], request.by)
        _send_stop(turn, flags.job_id, request.by)
        return "stopping", ""

    return _apply_to_each(turn, request.ids, act)


def _send_stop(turn: TurnContext, job_id: int, by: str) -> None:
    for machine in turn.state.machines.values():
        attempt = machine.live_attempts.get(job_id)
        if attempt is None:
            continue
        machine.live_attempts[job_id] = replace(attempt, stop_requested_by=by)
        if machine.heartbeat_no:
            turn.send(machine, Stop(job_id, attempt.n, by))


def hold_jobs(turn: TurnContext, request: requests.HoldJobs) -> list[JobActionResult]:
    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        job_id = flags.job_id
        if flags.state != JobState.QUEUED:
            error = f"job {job_id} is {flags.state}; only queued jobs can be held"
            return _final_error(flags) or ("", error)
        if flags.hold == batches.HOLD_UNOPENED:
            return "", f"job {job_id} is part of a batch that is being opened; try again shortly"
        jobs.hold(turn.tx, [job_id], "held; `mythjobs release` lets it run")
        turn.held.append(job_id)
        turn.recheck(readiness.refresh(turn.tx, [flags.job_id]))
        return "held", ""

    return _apply_to_each(turn, request.ids, act)


def release_jobs(turn: TurnContext, request: requests.ReleaseJobs) -> list[JobActionResult]:
    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.hold != 1 or flags.state != JobState.QUEUED:
            return _final_error(flags) or ("", f"job {flags.job_id} is not held")
        jobs.release(turn.tx, [flags.job_id])
        turn.recheck(readiness.refresh(turn.tx, [flags.job_id]))
        turn.add_event(flags.job_id, 0, "released")
        return "released", ""

    return _apply_to_each(turn, request.ids, act)


def rerun_jobs(turn: TurnContext, request: requests.RerunJobs) -> list[JobActionResult]:
    """Submit each ended job once more, with its command revision and arguments, as a new job."""

    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.state not in FINAL:
            return "", f"job {flags.job_id} has not ended yet ({flags.state})"
        old = jobs.read_submission(turn.tx, flags.job_id)
        assert old is not None
        class_id = commands.ensure_class_for(turn.tx, flags.class_id, request.submitter)
        if class_id is None:
            return "", f"the command of job {flags.job_id} was removed"
        job_id = turn.allocate_ids(1)
        ready = None if old["subject"] else class_id
        kept = {
            name: old[name]
            for name in ("command_id", "arguments", "subject", "overlap", "priority", "comment")
        }
        row = jobs.NewJob(
            job_id=job_id,
            submitted_ms=turn.now.wall_ms,
            ready_class=ready,
            rerun_of=flags.job_id,
            class_id=class_id,
            **kept,
        )
        jobs.add(turn.tx, [row])
        if ready is None:
            turn.changed_subjects.add(old["subject"])
        turn.recheck({class_id})
        return str(job_id), ""

    return _apply_to_each(turn, request.ids, act)


def freeze_jobs(turn: TurnContext, request: requests.FreezeJobs) -> list[JobActionResult]:
    """Send the request to the jobs' machines; each reports the freeze when it is done.

    The store does not record the request, so a disconnected machine gets none later.
    """

    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        error = _send_freeze(turn, flags.job_id, flags.state, request.frozen)
        return ("" if error else "pausing" if request.frozen else "resuming"), error

    return _apply_to_each(turn, request.ids, act)


def _send_freeze(turn: TurnContext, job_id: int, state: str, frozen: bool) -> str:
    """Return why the request cannot be sent, or ""."""
    machines = turn.state.machines.values()
    machine = next((each for each in machines if job_id in each.live_attempts), None)
    if machine is None:
        hint = "; `mythjobs hold` keeps it from starting" if state == "queued" else ""
        return f"job {job_id} is {state}, not running{hint}"
    if machine.connection is None or not machine.heartbeat_no:
        action = f"cannot {'pause' if frozen else 'resume'} job {job_id}"
        return f"{action}: machine {machine.name} is not connected; try again later"
    if frozen and "freeze" not in machine.capabilities:
        return f"machine {machine.name} cannot freeze a job; cancel it, or let it run"
    n = machine.live_attempts[job_id].n
    turn.send(machine, Freeze(job_id, n, USER_HOLDER, frozen))
    return ""
