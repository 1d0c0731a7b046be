"""Actions on many jobs in one request, with a result for each, and the checks of their states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.writes import batches, jobs

_MAX_JOBS: Final = 10_000


class Unchanged(str):
    """Effect of an action on a job that was in the requested condition already."""

    __slots__ = ()


def act_on_jobs(
    turn: TurnContext,
    ids: Sequence[int],
    check: Callable[[jobs.JobFlags], str],
    act: Callable[[list[jobs.JobFlags]], Sequence[str]],
) -> list[JobActionResult]:
    """Apply one action to many jobs in a few statements. Return one result for each id.

    check: returns why the action does not apply to a job, or "".
    act: applies the action to the jobs that passed `check`; returns for each the effect to show,
    such as "held", or an Unchanged.
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
    effects = ["" if error else next(done) for error in errors]
    return [
        JobActionResult(
            job_id, state, str(effect), error, not (error or isinstance(effect, Unchanged))
        )
        for job_id, state, effect, error in zip(ids, states, effects, errors, strict=True)
    ]


def find_final_error(flags: jobs.JobFlags) -> str:
    if flags.state in FINAL:
        return f"job {flags.job_id} has already ended ({flags.state})"
    return ""


def find_queued_error(flags: jobs.JobFlags, action: str) -> str:
    """Return why an action that only queued jobs allow is refused for a job, or ""."""
    if flags.state != JobState.QUEUED:
        error = f"job {flags.job_id} is {flags.state}; only queued jobs can {action}"
        return find_final_error(flags) or error
    return find_unopened_error(flags)


def find_unopened_error(flags: jobs.JobFlags) -> str:
    if flags.hold == batches.HOLD_UNOPENED:
        return f"job {flags.job_id} is part of a batch that is being opened; try again shortly"
    return ""
