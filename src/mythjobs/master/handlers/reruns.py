"""Handler of reruns: copies of ended jobs, as they were or with other values."""

from __future__ import annotations

from functools import cache
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers.job_actions import Unchanged, act_on_jobs
from mythjobs.master.handlers.job_changes import check_changes, merge_changes, read_job_submission
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL
from mythjobs.protocol.job_changes import RerunChanges
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.writes import jobs

# Columns that a rerun copies from the job that it repeats.
_COPIED_COLUMNS: Final = (
    "command_id", "arguments", "subject", "overlap", "priority", "comment",
)  # fmt: skip


def rerun_jobs(turn: TurnContext, request: requests.RerunJobs) -> list[JobActionResult]:
    """Submit a copy of each ended job, with the same command revision and, unless the request
    changes them, the same arguments and requirements."""
    if request.changes is not None:
        return _rerun_changed(turn, request, request.changes)
    new_class = cache(
        lambda class_id: turn.catalog.class_id_for(turn.tx, class_id, request.submitter)
    )

    def check(flags: jobs.JobFlags) -> str:
        if not (error := _open_error(flags)) and new_class(flags.class_id) is None:
            return f"the command of job {flags.job_id} was removed"
        return error

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

    return act_on_jobs(turn, request.ids, check, act)


def _open_error(flags: jobs.JobFlags) -> str:
    if flags.state not in FINAL:
        return f"job {flags.job_id} has not ended yet ({flags.state})"
    return ""


def _rerun_changed(
    turn: TurnContext, request: requests.RerunJobs, changes: RerunChanges
) -> list[JobActionResult]:
    """Submit each ended job again with changes, by the rules of a submit."""
    check_changes(changes)
    if changes.key is not None and len(request.ids) != 1:
        raise BadRequest("a key is for one job, so it needs the id of a single job to run again")
    done: list[str] = []

    def check(flags: jobs.JobFlags) -> str:
        if error := _open_error(flags):
            return error
        try:
            columns = jobs.read_submissions(turn.tx, [flags.job_id])[flags.job_id]
            old = read_job_submission(turn, columns)
            if old is None:
                return f"the command of job {flags.job_id} was removed"
            submit = requests.SubmitJob(merge_changes(turn, old, changes), request.submitter)
            job_id, is_new = submit_job(turn, submit, old.revision, flags.job_id)
        except BadRequest as refused:
            return f"job {flags.job_id}: {refused.sentence}"
        done.append(str(job_id) if is_new else Unchanged(job_id))
        return ""

    return act_on_jobs(turn, request.ids, check, lambda _: done)
