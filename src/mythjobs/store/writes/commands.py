"""Commands, their revisions, and job classes (requirements that jobs of a revision share)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from mythjobs.model.command import RUN
from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import counters

command, revision, job_class = t.command, t.command_revision, t.job_class

# Definition of the built-in command "run". It has no argv, because each job has its own program.
RUN_DEFINITION: Final = {"name": RUN, "summary": "Ad-hoc jobs of `mythjobs run`"}
# Key in the limits of a job class, with the value true: its jobs are ad-hoc runs with best_effort.
BEST_EFFORT: Final = "best_effort"


class CommandRevision(NamedTuple):
    """One revision of a command; `definition` is the JSON of the command's TOML file."""

    command_id: int
    revision_id: int
    number: int
    definition: str


class JobClassRow(NamedTuple):
    """Row of a job class: requirements that its jobs share. "" means no requirement."""

    class_id: int
    command_id: int
    revision_id: int
    submitter: str
    pin: str
    preferred: str
    labels: str
    semaphores: str
    limits: str


_REVISION_COLUMNS = (
    command.c.command_id,
    revision.c.revision_id,
    revision.c.number,
    revision.c.definition,
)
_FIND_BY_NAME = Statement(
    select(*_REVISION_COLUMNS).where(
        command.c.name == param("name"), revision.c.revision_id == command.c.revision_id
    )
)
_FIND_BY_REVISION = Statement(
    select(*_REVISION_COLUMNS).where(
        revision.c.revision_id == param("revision_id"),
        command.c.command_id == revision.c.command_id,
    )
)
# The next id follows from the revisions, which are never deleted, so that the id of a removed
# command is not reused.
_FIND_NEXT_COMMAND_ID = Statement(select(func.coalesce(func.max(revision.c.command_id), 0) + 1))
_FIND_NEXT_REVISION_ID = Statement(select(func.coalesce(func.max(revision.c.revision_id), 0) + 1))
_INSERT = Statement(insert(command), ("command_id", "name", "enabled", "revision_id", "created_ms"))
_INSERT_REVISION = Statement(insert(revision), revision.c.keys())
_SET_REVISION = Statement(
    update(command)
    .where(command.c.command_id == param("command_id"))
    .values(revision_id=param("revision_id"))
)
_DELETE = Statement(delete(command).where(command.c.command_id == param("command_id")))
_COUNT_OPEN_JOBS = Statement(
    select(func.coalesce(func.sum(t.tally.c.jobs), 0)).where(
        t.tally.c.command_id == param("command_id"),
        t.tally.c.state.not_in([literal(state) for state in sorted(FINAL)]),
    )
)
_REQUIREMENTS = ("submitter", "pin", "preferred", "labels", "semaphores", "limits")
_FIND_CLASS = Statement(
    select(job_class.c.class_id).where(
        job_class.c.revision_id == param("revision_id"),
        *(job_class.c[name] == param(name) for name in _REQUIREMENTS),
    )
)
_READ_CLASS = Statement(
    select(*(job_class.c[name] for name in JobClassRow._fields)).where(
        job_class.c.class_id == param("class_id")
    )
)
_FIND_NEXT_CLASS_ID = Statement(select(func.coalesce(func.max(job_class.c.class_id), 0) + 1))
_INSERT_CLASS = Statement(insert(job_class), JobClassRow._fields)
_DELETE_CLASSES = Statement(delete(job_class).where(in_list(job_class.c.class_id, "class_ids")))
_SET_ENABLED = Statement(
    update(command)
    .where(command.c.command_id == param("command_id"))
    .values(enabled=param("enabled"))
)
_READ_NAMES = Statement(select(command.c.command_id, command.c.name))
_READ_DISABLED = Statement(select(command.c.command_id).where(command.c.enabled == 0))
_SET_PUT_OFF = Statement(
    update(command)
    .where(command.c.command_id == param("command_id"))
    .values(put_off_ms=param("until_ms"), put_off_reason=param("reason"))
)
_READ_PUT_OFF = Statement(
    select(command.c.command_id, command.c.put_off_ms, command.c.put_off_reason).where(
        command.c.put_off_ms.is_not(None)
    )
)


def find_by_name(tx: Transaction, name: str) -> CommandRevision | None:
    rows = _FIND_BY_NAME.run(tx, name=name)
    return CommandRevision(*rows[0]) if rows else None


def find_by_revision(tx: Transaction, revision_id: int) -> CommandRevision | None:
    rows = _FIND_BY_REVISION.run(tx, revision_id=revision_id)
    return CommandRevision(*rows[0]) if rows else None


def define(
    tx: Transaction, name: str, definition: dict[str, object], *, at_ms: int
) -> CommandRevision:
    """Store a new command, or a new revision of the command with this name."""
    old = find_by_name(tx, name)
    revision_id = int(_FIND_NEXT_REVISION_ID.run(tx)[0][0])
    command_id = old.command_id if old else int(_FIND_NEXT_COMMAND_ID.run(tx)[0][0])
    number = old.number + 1 if old else 1
    text = json.dumps(definition, ensure_ascii=False)
    _INSERT_REVISION.run(
        tx,
        revision_id=revision_id,
        command_id=command_id,
        number=number,
        definition=text,
        created_ms=at_ms,
    )
    if old:
        _SET_REVISION.run(tx, command_id=command_id, revision_id=revision_id)
    else:
        counters.create_command_counters(tx, command_id)
        _INSERT.run(
            tx,
            command_id=command_id,
            name=name,
            enabled=1,
            revision_id=revision_id,
            created_ms=at_ms,
        )
    return CommandRevision(command_id, revision_id, number, text)


def ensure_run_command(tx: Transaction, *, at_ms: int) -> None:
    """Define the built-in command "run", for ad-hoc runs, unless it exists."""
    if find_by_name(tx, RUN) is None:
        define(tx, RUN, dict(RUN_DEFINITION), at_ms=at_ms)


def count_open_jobs(tx: Transaction, command_id: int) -> int:
    """Return the number of a command's jobs that have not ended."""
    return int(_COUNT_OPEN_JOBS.run(tx, command_id=command_id)[0][0])


def remove(tx: Transaction, command_id: int) -> None:
    """Remove a command and free its name; its revisions and jobs stay readable."""
    _DELETE.run(tx, command_id=command_id)


def set_enabled(tx: Transaction, command_id: int, enabled: bool) -> None:
    """Set whether new attempts of a command may start; running attempts continue."""
    _SET_ENABLED.run(tx, command_id=command_id, enabled=int(enabled))


def read_names(tx: Transaction) -> dict[int, str]:
    return {row[0]: row[1] for row in _READ_NAMES.run(tx)}


def read_disabled(tx: Transaction) -> list[int]:
    return [row[0] for row in _READ_DISABLED.run(tx)]


def read_put_off(tx: Transaction) -> list[tuple[int, int, str]]:
    """Return (command id, until_ms, reason) of each deferral of a command."""
    return [(row[0], row[1], row[2]) for row in _READ_PUT_OFF.run(tx)]


def put_off(tx: Transaction, command_id: int, until_ms: int | None, reason: str) -> None:
    """Defer a command: none of its jobs starts before `until_ms`. None ends the deferral."""
    _SET_PUT_OFF.run(tx, command_id=command_id, until_ms=until_ms, reason=reason)


def ensure_class(
    tx: Transaction,
    revision: CommandRevision,
    submitter: str,
    *,
    pin: str = "",
    preferred: str = "",
    labels: str = "",
    semaphores: str = "",
    limits: str = "",
) -> int:
    """Return the id of the job class with these requirements; insert it if it is new.

    Lists and tables are passed as sorted JSON, so that equal requirements are equal texts.
    """
    values = (submitter, pin, preferred, labels, semaphores, limits)
    requirements = dict(zip(_REQUIREMENTS, values, strict=True))
    rows = _FIND_CLASS.run(tx, revision_id=revision.revision_id, **requirements)
    if rows:
        return int(rows[0][0])
    class_id = int(_FIND_NEXT_CLASS_ID.run(tx)[0][0])
    _INSERT_CLASS.run(
        tx,
        class_id=class_id,
        revision_id=revision.revision_id,
        command_id=revision.command_id,
        **requirements,
    )
    return class_id


def ensure_class_for(tx: Transaction, class_id: int, submitter: str) -> int | None:
    """Return the id of the job class with the same requirements for another submitter.

    Insert the class if it is new. Return None if the command was removed.
    """
    row = read_class(tx, class_id)
    revision = find_by_revision(tx, row.revision_id)
    if revision is None:
        return None
    return ensure_class(
        tx,
        revision,
        submitter,
        pin=row.pin,
        preferred=row.preferred,
        labels=row.labels,
        semaphores=row.semaphores,
        limits=row.limits,
    )


def read_class(tx: Transaction, class_id: int) -> JobClassRow:
    return JobClassRow(*_READ_CLASS.run(tx, class_id=class_id)[0])


def delete_classes(tx: Transaction, class_ids: Sequence[int]) -> None:
    """Delete job classes that have no jobs."""
    _DELETE_CLASSES.run(tx, class_ids=list(class_ids))
