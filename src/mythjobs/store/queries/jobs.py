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
from mythjobs.store.writes.commands import BEST_EFFORT

j = t.job.c

_JOB_COLUMNS: Final = (
    j.job_id, j.state, j.priority, j.subject, j.arguments, j.key,
    j.hold, j.stop_requested, j.batch_id, j.comment, j.not_before_ms,
    j.submitted_ms, j.ended_ms, j.progress, j.attempts, j.reason_code,
    j.reason, j.rerun_of, j.unmet, j.ready_class, j.class_id,
    j.deadline_ms, j.failures, j.losses, t.job_class.c.pin, t.job_class.c.preferred,
    t.job_class.c.labels, t.job_class.c.semaphores, t.job_class.c.limits,
    t.job_class.c.submitter, t.command_revision.c.number, t.command_revision.c.definition,
    t.attempt.c.started_ms, t.attempt.c.over_ms, t.attempt.c.usage, t.machine.c.name,
)  # fmt: skip


# Condition that a job is visible to users: its batch, if any, has been opened.
_IS_VISIBLE: Final = or_(
    j.hold != batches.HOLD_UNOPENED,
    not_(j.batch_id.in_(select(t.batch.c.batch_id).where(t.batch.c.opened_ms.is_(None)))),
)


def select_visible_jobs() -> Select[Any]:
    """Return a query for all jobs that are visible to users: without jobs of unopened batches."""
    job_class, revision, attempt, machine = (
        t.job_class.c, t.command_revision.c, t.attempt.c, t.machine.c,
    )  # fmt: skip
    last_attempt = (attempt.job_id == j.job_id) & (attempt.n == j.attempts)
    return (
        select(*_JOB_COLUMNS)
        .select_from(
            t.job.join(t.job_class, job_class.class_id == j.class_id)
            .join(t.command_revision, revision.revision_id == job_class.revision_id)
            .outerjoin(t.attempt, last_attempt)
            .outerjoin(t.machine, machine.machine_id == attempt.machine_id)
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
    since_ms: int | None = None,
    held: bool = False,
) -> Record:
    """Return a page of jobs with ids below `before`, newest first. Raises NoSuchCommand.

    The caller must validate `states` and `limit`.
    """
    which = JobFilter(
        states=states, command=command, batch=batch, subject=subject, held=held, since_ms=since_ms
    )
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
        "limits": _decode_limits(row["limits"]),
        "failures": row["failures"],
        "losses": row["losses"],
        "submitted_ms": row["submitted_ms"],
        "ended_ms": row["ended_ms"],
        "progress": None if progress is None else progress / 10,
        "attempt": row["attempts"],
        "ran_on": row["name"] or "",
        "started_ms": row["started_ms"],
        "run_s": _find_run_s(row),
        "rerun_of": row["rerun_of"],
    }


def _find_run_s(row: Record) -> float | None:
    """Return the run time of the last attempt, once it has ended: as its machine has measured it,
    or else from the times of its start and its end."""
    started_ms, over_ms = row["started_ms"], row["over_ms"]
    if started_ms is None or over_ms is None:
        return None
    measured: float | None = json.loads(row["usage"] or "{}").get("wall_s")
    return (over_ms - started_ms) / 1000 if measured is None else measured


def _decode_limits(text: str) -> dict[str, str | int]:
    limits: dict[str, str | int] = json.loads(text or "{}")
    limits.pop(BEST_EFFORT, None)  # no limit; the arguments have it
    return limits


def _public_arguments(text: str, command: str) -> Record:
    """Return a job's arguments without an ad-hoc run's environment, which may contain secrets."""
    arguments: Record = json.loads(text)
    if command == RUN:
        arguments.pop("env", None)
    return arguments
