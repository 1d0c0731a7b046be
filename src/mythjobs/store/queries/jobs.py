"""Query for lists of jobs, newest first, in the form of the HTTP API (docs/api.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import not_, or_, select
from sqlalchemy.sql import Select

from mythjobs.model.command import RUN
from mythjobs.protocol import responses
from mythjobs.store import tables as t
from mythjobs.store.queries.filters import JobFilter, find_last_ids
from mythjobs.store.statement import Record, fetch_records
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches

j = t.job.c

_JOB_COLUMNS: Final = (
    j.job_id, j.state, j.priority, j.subject, j.arguments, j.key,
    j.hold, j.stop_requested, j.batch_id, j.comment, j.not_before_ms,
    j.submitted_ms, j.ended_ms, j.progress, j.attempts, j.reason_code,
    j.reason, j.rerun_of, j.unmet, j.ready_class, j.class_id,
    j.deadline_ms, j.failures, j.losses, t.job_class.c.pin, t.job_class.c.preferred,
    t.job_class.c.labels, t.job_class.c.semaphores, t.job_class.c.limits,
    t.job_class.c.submitter, t.command_revision.c.number, t.command_revision.c.definition,
)  # fmt: skip


# Condition that a job is visible to users: its batch, if any, has been opened.
_IS_VISIBLE: Final = or_(
    j.hold != batches.HOLD_UNOPENED,
    not_(j.batch_id.in_(select(t.batch.c.batch_id).where(t.batch.c.opened_ms.is_(None)))),
)


def select_visible_jobs() -> Select[Any]:
    """Return a query for all jobs that are visible to users: without jobs of unopened batches."""
    return (
        select(*_JOB_COLUMNS)
        .select_from(
            t.job.join(t.job_class, t.job_class.c.class_id == t.job.c.class_id).join(
                t.command_revision, t.command_revision.c.revision_id == t.job_class.c.revision_id
            )
        )
        .where(_IS_VISIBLE)
    )


def list_jobs(
    tx: Transaction,
    states: Sequence[str] = (),
    command: str | None = None,
    batch: int | None = None,
    limit: int = 100,
    before: int | None = None,
    subject: str | None = None,
) -> Record:
    """Return a page of jobs with ids below `before`, newest first. Raises NoSuchCommand.

    The caller must validate `states` and `limit`.
    """
    which = JobFilter(states=states, command=command, batch=batch, subject=subject)
    ids = find_last_ids(tx, which, _IS_VISIBLE, before, limit)
    query = select_visible_jobs().where(j.job_id.in_(ids)).order_by(j.job_id.desc())
    return {
        "jobs": [job_to_record(row) for row in fetch_records(tx, query)],
        "next": ids[-1] if len(ids) == limit else None,
    }


def job_to_record(row: Record) -> responses.StoredJob:
    definition = json.loads(row["definition"])
    progress = row["progress"]
    return {
        "id": row["job_id"],
        "command": definition["name"],
        "revision": row["number"],
        "state": row["state"],
        "reason": {"code": row["reason_code"], "sentence": row["reason"]},
        "priority": row["priority"],
        "subject": row["subject"],
        "arguments": _public_arguments(row["arguments"], definition["name"]),
        "key": row["key"],
        "hold": row["hold"] == 1,
        "stop_requested": row["stop_requested"],
        "batch": row["batch_id"],
        "submitter": row["submitter"],
        "comment": row["comment"],
        "not_before_ms": row["not_before_ms"],
        "deadline_ms": row["deadline_ms"],
        "machine": row["pin"],
        "prefer": row["preferred"],
        "labels": json.loads(row["labels"] or "[]"),
        "semaphores": dict(json.loads(row["semaphores"] or "[]")),
        "limits": json.loads(row["limits"] or "{}"),
        "failures": row["failures"],
        "losses": row["losses"],
        "submitted_ms": row["submitted_ms"],
        "ended_ms": row["ended_ms"],
        "progress": None if progress is None else progress / 10,
        "attempt": row["attempts"],
        "rerun_of": row["rerun_of"],
    }


def _public_arguments(text: str, command: str) -> Record:
    """Return a job's arguments without an ad-hoc run's environment, which may contain secrets."""
    arguments: Record = json.loads(text)
    if command == RUN:
        arguments.pop("env", None)
    return arguments
