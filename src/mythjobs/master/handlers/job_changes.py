"""Submit that a stored job would come from, with other values: for changes of queued jobs and for
reruns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from mythjobs.errors import BadRequest
from mythjobs.master.handlers.submit import check_common, find_file_machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN, Command
from mythjobs.model.template import parse_template
from mythjobs.protocol.job_changes import JobChanges, RerunChanges
from mythjobs.protocol.requests import AdHocRun, Submit
from mythjobs.store.writes import commands
from mythjobs.store.writes.commands import CommandRevision, JobClassRow

_Values = dict[str, str | int | float]


class JobSubmission(NamedTuple):
    """A job as it was submitted. columns: those of NewJob. command: `revision`, decoded."""

    revision: CommandRevision
    command: Command
    requirements: JobClassRow
    columns: Mapping[str, Any]


def read_job_submission(turn: TurnContext, columns: Mapping[str, Any]) -> JobSubmission | None:
    """Return the job with these columns; None if its command was removed.

    Raises DefinitionError if this version cannot read its command.
    """
    row = commands.read_class(turn.tx, columns["class_id"])
    revision = commands.find_by_revision(turn.tx, row.revision_id)
    if revision is None:
        return None
    return JobSubmission(revision, turn.catalog.decoded_command(revision), row, columns)


def check_changes(changes: JobChanges) -> None:
    """Check the values that do not depend on the job. Raises BadRequest."""
    check_common(
        Submit(
            "",
            priority=changes.priority or 0,
            comment=changes.comment or "",
            not_before_ms=changes.not_before_ms,
            deadline_ms=changes.deadline_ms,
            machine=changes.machine or "",
            prefer=changes.prefer or "",
        )
    )


def merge_changes(turn: TurnContext, old: JobSubmission, changes: JobChanges) -> Submit:
    """Return the submit of a job with the changed values; the others are those of the old job,
    except start time, deadline, key, hold and dependencies, which the changes give. Raises
    BadRequest."""
    name, columns, row = old.command.name, old.columns, old.requirements
    arguments: _Values = {}
    run = None
    if name != RUN:
        arguments = _restore_arguments(old) | changes.arguments
    elif changes.arguments:
        raise BadRequest(
            "an ad-hoc run has no parameters; start its program with other arguments by "
            "`mythjobs run`"
        )
    else:
        run = msgspec.json.decode(columns["arguments"], type=AdHocRun)
        if "wall" in changes.limits:  # else the old limit would hold if it is the tighter one
            run = msgspec.structs.replace(run, wall_s=None)
    subject = _merge_subject(old, changes)
    pin = row.pin if changes.machine is None else changes.machine
    limits: dict[str, str | int] = json.loads(row.limits or "{}")
    limits.pop(commands.BEST_EFFORT, None)
    again = changes if isinstance(changes, RerunChanges) else RerunChanges()
    return Submit(
        name,
        arguments,
        subject=subject,
        priority=columns["priority"] if changes.priority is None else changes.priority,
        after=again.after,
        key=again.key,
        hold=again.hold,
        not_before_ms=changes.not_before_ms,
        comment=columns["comment"] if changes.comment is None else changes.comment,
        run=run,
        deadline_ms=changes.deadline_ms,
        machine=pin,
        prefer=_merge_preferred(turn, old, changes, pin, subject),
        labels=json.loads(row.labels or "[]") if changes.labels is None else changes.labels,
        semaphores=dict(json.loads(row.semaphores or "[]")) | changes.semaphores,
        limits=limits | changes.limits,
        # The old machine was accepted at the first submit, even if it is gone by now.
        await_machine=changes.await_machine or changes.machine is None,
    )


def _restore_arguments(old: JobSubmission) -> _Values:
    """Return the arguments of a job without the "" that stand for optional ones not given, which
    are no valid values of some types."""
    values: dict[str, str] = json.loads(old.columns["arguments"])
    absent = {
        each.name for each in old.command.parameters if each.default is None and not each.required
    }
    return {name: text for name, text in values.items() if text or name not in absent}


def _merge_subject(old: JobSubmission, changes: JobChanges) -> str | None:
    """Return the subject for the submit; None: the one that follows from the arguments."""
    if changes.subject is not None:
        return changes.subject
    stored: str | None = old.columns["subject"]
    if changes.arguments and old.command.subject:
        values = json.loads(old.columns["arguments"])
        if parse_template(old.command.subject).fill(values) == (stored or ""):
            return None
    return stored or ""


def _merge_preferred(
    turn: TurnContext, old: JobSubmission, changes: JobChanges, pin: str, subject: str | None
) -> str:
    """Return the machine to prefer; "": the one that stores the job's file, if any."""
    if changes.prefer is not None:
        return changes.prefer
    preferred = old.requirements.preferred
    if pin and preferred != pin:
        return ""
    # The machine of the old file is not preferred for another file.
    is_derived = preferred == find_file_machine(turn, old.columns["subject"])
    return "" if is_derived and subject != old.columns["subject"] else preferred
