"""Commands, their revisions, and the classes that jobs of one revision fall into."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from mythjobs.model.command import RUN
from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, literal, param
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import counters

command, revision, job_class = t.command, t.command_revision, t.job_class

# The built-in command's definition: what it runs is each job's own data.
RUN_DEFINITION: Final = {"name": RUN, "summary": "Ad-hoc jobs of `mythjobs run`"}


class CommandRevision(NamedTuple):
    command_id: int
    revision_id: int
    number: int
    definition: str


class JobClassRow(NamedTuple):
    """What jobs of one class ask alike; empty where they ask nothing."""

    class_id: int
    command_id: int
    revision_id: int
    submitter: str
    pin: str
    preferred: str
    labels: str
    semaphores: str
    limits: str


_DEFINED = (
    command.c.command_id,
    revision.c.revision_id,
    revision.c.number,
    revision.c.definition,
)
_BY_NAME = Statement(
    select(*_DEFINED).where(
        command.c.name == param("called"), revision.c.revision_id == command.c.revision_id
    )
)
_BY_REVISION = Statement(
    select(*_DEFINED).where(
        revision.c.revision_id == param("which"), command.c.command_id == revision.c.command_id
    )
)
_NEXT_COMMAND = Statement(select(func.coalesce(func.max(revision.c.command_id), 0) + 1))
_NEXT_REVISION = Statement(select(func.coalesce(func.max(revision.c.revision_id), 0) + 1))
_ADD = Statement(insert(command), ("command_id", "name", "enabled", "revision_id", "created_ms"))
_REVISE = Statement(
    insert(revision), ("revision_id", "command_id", "number", "definition", "created_ms")
)
_POINT = Statement(
    update(command)
    .where(command.c.command_id == param("which"))
    .values(revision_id=param("newest"))
)
_REMOVE = Statement(delete(command).where(command.c.command_id == param("which")))
_OPEN_JOBS = Statement(
    select(func.coalesce(func.sum(t.tally.c.jobs), 0)).where(
        t.tally.c.command_id == param("which"),
        t.tally.c.state.not_in([literal(state) for state in sorted(FINAL)]),
    )
)
_CLASS_KEY = ("submitter", "pin", "preferred", "labels", "semaphores", "limits")
_FIND_CLASS = Statement(
    select(job_class.c.class_id).where(
        job_class.c.revision_id == param("which"),
        *(job_class.c[name] == param(name + "_") for name in _CLASS_KEY),
    )
)
_CLASS = Statement(
    select(*(job_class.c[name] for name in JobClassRow._fields)).where(
        job_class.c.class_id == param("which")
    )
)
_NEXT_CLASS = Statement(select(func.coalesce(func.max(job_class.c.class_id), 0) + 1))
_ADD_CLASS = Statement(insert(job_class), JobClassRow._fields)
_ENABLE = Statement(
    update(command).where(command.c.command_id == param("which")).values(enabled=param("on"))
)
_NAMES = Statement(select(command.c.command_id, command.c.name))
_DISABLED = Statement(select(command.c.command_id).where(command.c.enabled == 0))
_PUT_OFF = Statement(
    update(command)
    .where(command.c.command_id == param("which"))
    .values(put_off_ms=param("until"), put_off_reason=param("why"))
)
_EVERY_PUT_OFF = Statement(
    select(command.c.command_id, command.c.put_off_ms, command.c.put_off_reason).where(
        command.c.put_off_ms.is_not(None)
    )
)


def find_by_name(tx: Transaction, name: str) -> CommandRevision | None:
    rows = _BY_NAME.run(tx, called=name)
    return CommandRevision(*rows[0]) if rows else None


def find_by_revision(tx: Transaction, revision_id: int) -> CommandRevision | None:
    rows = _BY_REVISION.run(tx, which=revision_id)
    return CommandRevision(*rows[0]) if rows else None


def define(
    tx: Transaction, name: str, definition: dict[str, object], *, at_ms: int
) -> CommandRevision:
    """Stores a new command, or a new revision of one that is there under this name."""
    old = find_by_name(tx, name)
    revision_id = int(_NEXT_REVISION.run(tx)[0][0])
    command_id = old.command_id if old else int(_NEXT_COMMAND.run(tx)[0][0])
    number = old.number + 1 if old else 1
    text = json.dumps(definition, ensure_ascii=False)
    _REVISE.run(
        tx,
        revision_id=revision_id,
        command_id=command_id,
        number=number,
        definition=text,
        created_ms=at_ms,
    )
    if old:
        _POINT.run(tx, which=command_id, newest=revision_id)
    else:
        counters.create_command_counters(tx, command_id)
        _ADD.run(
            tx,
            command_id=command_id,
            name=name,
            enabled=1,
            revision_id=revision_id,
            created_ms=at_ms,
        )
    return CommandRevision(command_id, revision_id, number, text)


def ensure_run_command(tx: Transaction, *, at_ms: int) -> None:
    """The built-in command of ad-hoc jobs is there."""
    if find_by_name(tx, RUN) is None:
        define(tx, RUN, dict(RUN_DEFINITION), at_ms=at_ms)


def count_open_jobs(tx: Transaction, command_id: int) -> int:
    """How many jobs of a command are not over."""
    return int(_OPEN_JOBS.run(tx, which=command_id)[0][0])


def remove(tx: Transaction, command_id: int) -> None:
    """The name is free again; revisions and jobs stay readable."""
    _REMOVE.run(tx, which=command_id)


def set_enabled(tx: Transaction, command_id: int, on: bool) -> None:
    """Whether jobs of it may start; those that run go on."""
    _ENABLE.run(tx, which=command_id, on=int(on))


def read_names(tx: Transaction) -> dict[int, str]:
    return {row[0]: row[1] for row in _NAMES.run(tx)}


def read_disabled(tx: Transaction) -> list[int]:
    return [row[0] for row in _DISABLED.run(tx)]


def read_put_off(tx: Transaction) -> list[tuple[int, int, str]]:
    """Command, until when, and why."""
    return [(row[0], row[1], row[2]) for row in _EVERY_PUT_OFF.run(tx)]


def put_off(tx: Transaction, command_id: int, until_ms: int | None, reason: str) -> None:
    """No job of it starts before then; None lets them start again."""
    _PUT_OFF.run(tx, which=command_id, until=until_ms, why=reason)


def ensure_class(
    tx: Transaction,
    defined: CommandRevision,
    submitter: str,
    *,
    pin: str = "",
    preferred: str = "",
    labels: str = "",
    semaphores: str = "",
    limits: str = "",
) -> int:
    """The class of a job of this revision, made if no job asked the same before.

    Lists and tables are JSON in one spelling (sorted), so that equal ones are equal texts.
    """
    key = dict(
        zip(_CLASS_KEY, (submitter, pin, preferred, labels, semaphores, limits), strict=True)
    )
    rest = {f"{name}_": value for name, value in key.items()}
    rows = _FIND_CLASS.run(tx, which=defined.revision_id, **rest)
    if rows:
        return int(rows[0][0])
    class_id = int(_NEXT_CLASS.run(tx)[0][0])
    _ADD_CLASS.run(
        tx,
        class_id=class_id,
        revision_id=defined.revision_id,
        command_id=defined.command_id,
        **key,
    )
    return class_id


def ensure_class_for(tx: Transaction, class_id: int, submitter: str) -> int | None:
    """The class that asks the same for another submitter; None if its command was removed."""
    row = read_class(tx, class_id)
    defined = find_by_revision(tx, row.revision_id)
    if defined is None:
        return None
    words = {"pin": row.pin, "preferred": row.preferred, "labels": row.labels}
    words |= {"semaphores": row.semaphores, "limits": row.limits}
    return ensure_class(tx, defined, submitter, **words)


def read_class(tx: Transaction, class_id: int) -> JobClassRow:
    return JobClassRow(*_CLASS.run(tx, which=class_id)[0])
