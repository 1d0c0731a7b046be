"""Handler of changes of queued jobs: start time, arguments, requirements, and the like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers.job_actions import Unchanged, act_on_jobs, find_queued_error
from mythjobs.master.handlers.job_changes import (
    JobSubmission,
    check_changes,
    merge_changes,
    read_job_submission,
)
from mythjobs.master.handlers.submit import (
    DEADLINE_BEFORE_START,
    check_common,
    check_machine_joined,
    encode_arguments,
    find_file_machine,
    job_requirements,
)
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL
from mythjobs.protocol.job_changes import JobChanges
from mythjobs.protocol.requests import JobActionResult, Submit
from mythjobs.scheduler.blocked import NOT_VISIBLE
from mythjobs.store.writes import jobs, late_results, readiness

# Maximum number of characters of a value in the history of a job.
_MAX_SHOWN: Final = 100


class _Change(NamedTuple):
    """A job's columns before, and those that replace them. parts: what differs, for users."""

    before: JobSubmission
    after: jobs.JobSettings
    parts: list[str]


def set_jobs(turn: TurnContext, request: requests.SetJobs) -> list[JobActionResult]:
    """Change queued jobs. All values of a job change in this turn, or none.

    A job that a machine has got is refused, so no attempt runs with some of the values.
    """
    changes = request.changes
    check_changes(changes)
    planned: dict[int, _Change] = {}

    def check(flags: jobs.JobFlags) -> str:
        if error := find_queued_error(flags, "be changed"):
            is_final = flags.state in FINAL
            return f"{error}; `mythjobs rerun` takes the same options" if is_final else error
        try:
            planned[flags.job_id] = _plan(turn, flags.job_id, changes)
        except BadRequest as refused:
            return f"job {flags.job_id}: {refused.sentence}"
        return ""

    def act(chosen: list[jobs.JobFlags]) -> list[str]:
        _apply(turn, {key: each for key, each in planned.items() if each.parts}, request.by)
        return [_describe_effect(planned[each.job_id]) for each in chosen]

    return act_on_jobs(turn, request.ids, check, act)


def _describe_effect(change: _Change) -> str:
    if not change.parts:
        return Unchanged("has these values already")
    return f"has {', '.join(change.parts)}"


def _apply(turn: TurnContext, changed: Mapping[int, _Change], by: str) -> None:
    if not changed:
        return
    jobs.change(turn.tx, [each.after for each in changed.values()])
    for job_id, (before, after, parts) in changed.items():
        turn.add_event(job_id, 0, "changed", f"{', '.join(parts)}, by {by}")
        # The placement cache may have the job in its old class, and with its old subject.
        turn.recheck({before.columns["class_id"], after.class_id})
        subjects = (before.columns["subject"], after.subject)
        turn.changed_subjects |= {each for each in subjects if each is not None}
        for at_ms in (after.not_before_ms, after.deadline_ms):
            if at_ms is not None:
                turn.state.schedule_turn(at_ms)
    turn.recheck(readiness.refresh(turn.tx, list(changed)))


def _plan(turn: TurnContext, job_id: int, changes: JobChanges) -> _Change:
    """Return the change of a queued job. Raises BadRequest."""
    columns = jobs.read_submissions(turn.tx, [job_id])[job_id]
    before = read_job_submission(turn, columns)
    if before is None:
        raise BadRequest("its command was removed")
    if changes.arguments:
        _check_no_late_result(turn, job_id, columns["attempts"])
    submit = merge_changes(turn, before, changes)
    check_common(submit)
    check_machine_joined(turn.state, submit)
    arguments, subject = encode_arguments(before.command, submit)
    class_id = _find_class(turn, before, changes, submit, subject)
    not_before_ms, reason = columns["not_before_ms"], (columns["reason_code"], columns["reason"])
    if changes.not_before_ms is not None:
        is_due = changes.not_before_ms <= turn.now.wall_ms
        not_before_ms = None if is_due else changes.not_before_ms
    is_other = arguments != columns["arguments"] or class_id != columns["class_id"]
    if reason[0] == NOT_VISIBLE and (is_other or changes.not_before_ms is not None):
        # The job waited for a machine that can read its files; now find one anew.
        not_before_ms = None if changes.not_before_ms is None else not_before_ms
        reason = ("", "")
    deadline_ms = columns["deadline_ms"] if changes.deadline_ms is None else changes.deadline_ms
    if changes.not_before_ms is not None or changes.deadline_ms is not None:
        if deadline_ms is not None and deadline_ms < (not_before_ms or 0):
            raise BadRequest(DEADLINE_BEFORE_START)
    after = jobs.JobSettings(
        job_id,
        class_id,
        arguments,
        subject,
        submit.priority,
        not_before_ms,
        deadline_ms,
        submit.comment,
        *reason,
    )
    return _Change(before, after, list(_list_differences(turn, before, after, submit)))


def _check_no_late_result(turn: TurnContext, job_id: int, last_n: int) -> None:
    """Raise BadRequest if a machine may still report the result of the job's last attempt, which
    would become the result of the job although it follows from the old arguments."""
    last = late_results.find_ended_attempts(turn.tx, [(job_id, last_n)]) if last_n else {}
    if any(each.is_unobserved for each in last.values()):
        raise BadRequest(
            f"its attempt {last_n} was lost, and may still report a result, which would be that of "
            "the old arguments; cancel the job, then give the new ones to `mythjobs rerun`"
        )


def _find_class(
    turn: TurnContext,
    before: JobSubmission,
    changes: JobChanges,
    submit: Submit,
    subject: str | None,
) -> int:
    """Return the id of the job class with the changed requirements; the submitter stays."""
    old_id: int = before.columns["class_id"]
    given = (changes.machine, changes.prefer, changes.labels)
    is_same = all(each is None for each in given) and not (changes.semaphores or changes.limits)
    if is_same and subject == before.columns["subject"]:
        return old_id
    requirements = job_requirements(submit, prefer=find_file_machine(turn, subject))
    return turn.catalog.class_id(
        turn.tx, before.revision, before.requirements.submitter, requirements
    )


def _list_differences(
    turn: TurnContext, before: JobSubmission, after: jobs.JobSettings, submit: Submit
) -> Iterator[str]:
    """Yield what differs between two versions of a job: `preset "slow" instead of "fast"`."""
    if submit.run is None:
        old_values = json.loads(before.columns["arguments"])
        for name, value in json.loads(after.arguments).items():
            if (old := old_values.get(name)) != value:
                yield f"{name} {_quote(value)} instead of {_quote(old)}"
    for name in ("subject", "comment", "priority"):
        old, new = before.columns[name], getattr(after, name)
        if old != new:
            yield f"{name} {_quote(new)} instead of {_quote(old)}"
    for name, label, none in (
        ("not_before_ms", "start time", "at once"),
        ("deadline_ms", "deadline", "none"),
    ):
        old, new = before.columns[name], getattr(after, name)
        if old != new:
            was, now = (none if each is None else turn.format_time(each) for each in (old, new))
            yield f"{label} {now} instead of {was}"
    old_submit = merge_changes(turn, before, JobChanges())
    for name in ("machine", "prefer", "labels", "semaphores", "limits"):
        old, new = getattr(old_submit, name), getattr(submit, name)
        if old != new:
            yield f"{name} {_format_requirement(new)} instead of {_format_requirement(old)}"


def _quote(value: object) -> str:
    if not isinstance(value, str):
        return "none" if value is None else str(value)
    return f'"{value}"' if len(value) <= _MAX_SHOWN else f'"{value[:_MAX_SHOWN]}…"'


def _format_requirement(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}={each}" for name, each in value.items()]
    text = " ".join(value) if isinstance(value, list) else str(value)
    return text or "none"
