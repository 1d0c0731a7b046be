"""Handler of reruns: copies of ended jobs, as they were or with other values."""

from __future__ import annotations

from functools import cache
from typing import Final

import msgspec

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers.job_actions import Unchanged, act_on_jobs
from mythjobs.master.handlers.job_changes import check_changes, merge_changes, read_job_submission
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL
from mythjobs.protocol.job_changes import RerunChanges
from mythjobs.protocol.requests import Dependency, JobActionResult
from mythjobs.store.writes import dependencies, jobs

# Columns that a rerun copies from the job that it repeats.
_COPIED_COLUMNS: Final = (
    "command_id", "arguments", "subject", "overlap", "priority", "comment",
)  # fmt: skip


def rerun_jobs(turn: TurnContext, request: requests.RerunJobs) -> list[JobActionResult]:
    """Submit a copy of each ended job, with the same command revision and, unless the request
    changes them, the same arguments and requirements.

    Dependencies on jobs of the same request become dependencies on their reruns, and dependencies
    on open jobs stay. All others are dropped: the job waited for has ended.
    """
    old = dependencies.read_conditions(turn.tx, request.ids)
    if request.changes is not None or old:
        return _rerun_by_submit(turn, request, _Dependencies(turn, request, old))
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


class _Dependencies:
    """Dependencies that the reruns of one request take over from the old jobs.

    old: dependencies of the old jobs, see dependencies.read_conditions().
    """

    def __init__(
        self, turn: TurnContext, request: requests.RerunJobs, old: dict[int, list[tuple[int, str]]]
    ) -> None:
        self._old = old
        self._earlier = request.earlier or requests.RerunIds()
        self._reruns = dict.fromkeys(request.ids, 0)  # id of the rerun; 0: none so far
        awaited = {job_id for rows in old.values() for job_id, _ in rows}
        # Without the jobs that were deleted.
        self._awaited = jobs.read_flags(turn.tx, sorted(awaited)) if awaited else {}

    def record(self, old_id: int, new_id: int) -> None:
        self._reruns[old_id] = new_id

    def list_for(self, job_id: int, given: list[Dependency]) -> list[Dependency]:
        """Return the dependencies of the rerun of a job: `given`, and those taken over.

        Raises BadRequest if the job waited for a job of the request that was not submitted again.
        """
        taken = dict[int, Dependency]()
        for awaited_id, when in self._old.get(job_id, ()):
            rerun_id = self._reruns.get(awaited_id, self._earlier.find(awaited_id))
            flags = self._awaited.get(awaited_id)
            if rerun_id:
                taken[rerun_id] = _convert(rerun_id, when)
            elif flags is None:
                continue  # deleted
            elif flags.state not in FINAL:
                taken[awaited_id] = _convert(awaited_id, when)
            elif rerun_id == 0:
                raise BadRequest(
                    f"it waited for job {awaited_id}, which could not be submitted again; to run "
                    f"job {job_id} anyway, rerun it alone"
                )
        for each in given:
            taken.pop(each.job, None)
        return [*given, *taken.values()]


def _convert(job_id: int, when: str) -> Dependency:
    return msgspec.convert({"job": job_id, "when": when}, Dependency)


def _rerun_by_submit(
    turn: TurnContext, request: requests.RerunJobs, after: _Dependencies
) -> list[JobActionResult]:
    """Submit each ended job again with changes or dependencies, by the rules of a submit."""
    changes = request.changes or RerunChanges()
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
            own = msgspec.structs.replace(
                changes, after=after.list_for(flags.job_id, changes.after)
            )
            submit = requests.SubmitJob(merge_changes(turn, old, own), request.submitter)
            job_id, is_new = submit_job(turn, submit, old.revision, flags.job_id)
        except BadRequest as refused:
            return f"job {flags.job_id}: {refused.sentence}"
        after.record(flags.job_id, job_id)
        done.append(str(job_id) if is_new else Unchanged(job_id))
        return ""

    return act_on_jobs(turn, request.ids, check, lambda _: done)
