"""Queries for job facts: the columns of a job that tell why the job is not ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.scheduler.blocked import MAX_NAMED_JOBS, JobFacts, describe_awaited
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Row, Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.dependencies import UNMET

job = t.job

_SELECT = select(
    job.c.job_id,
    job.c.batch_id,
    t.batch.c.opened_ms,
    job.c.state,
    t.command.c.name,
    job.c.hold,
    job.c.not_before_ms,
    job.c.unmet,
    job.c.ready_class,
    job.c.subject,
    job.c.reason_code,
    job.c.reason,
    job.c.deadline_ms,
).select_from(
    job.outerjoin(t.batch, t.batch.c.batch_id == job.c.batch_id).outerjoin(
        t.command, t.command.c.command_id == job.c.command_id
    )
)
_SELECT_QUEUED = _SELECT.where(job.c.state == literal(JobState.QUEUED))

_READ = Statement(_SELECT.where(job.c.job_id == param("job_id")))
_READ_QUEUED = Statement(_SELECT_QUEUED.where(in_list(job.c.job_id, "job_ids")))
_READ_QUEUED_AFTER = Statement(
    _SELECT_QUEUED.where(job.c.job_id > param("after_job_id"))
    .order_by(job.c.job_id)
    .limit(param("limit"))
)
_READ_AWAITED = Statement(
    select(t.dependency.c.job_id, t.dependency.c.on_job_id, t.dependency.c.accept)
    .where(in_list(t.dependency.c.job_id, "job_ids"), t.dependency.c.met == UNMET)
    .order_by(t.dependency.c.job_id, t.dependency.c.on_job_id)
)
_READ_CLASS_IDS = Statement(
    select(job.c.job_id, job.c.class_id).where(in_list(job.c.job_id, "job_ids"))
)


def read_class_id(tx: Transaction, job_id: int) -> int:
    """Return the id of the job class of an existing job."""
    return read_class_ids(tx, [job_id])[job_id]


def read_class_ids(tx: Transaction, job_ids: Sequence[int]) -> dict[int, int]:
    return {row[0]: row[1] for row in _READ_CLASS_IDS.run(tx, job_ids=list(job_ids))}


def read_job_facts(tx: Transaction, job_id: int) -> JobFacts | None:
    """Return the facts of a job, or None if it does not exist or its batch is not open."""
    rows = _READ.run(tx, job_id=job_id)
    if not rows or (rows[0][1] is not None and rows[0][2] is None):
        return None
    return _to_facts(rows[0])


def read_queued(tx: Transaction, job_ids: Sequence[int]) -> dict[int, JobFacts]:
    """Return the facts of the given jobs by job id, without jobs that are not queued."""
    return {row[0]: _to_facts(row) for row in _READ_QUEUED.run(tx, job_ids=list(job_ids))}


def read_queued_after(tx: Transaction, after_job_id: int, limit: int) -> dict[int, JobFacts]:
    """Return the facts of the next `limit` queued jobs after a job id, in order of id."""
    rows = _READ_QUEUED_AFTER.run(tx, after_job_id=after_job_id, limit=limit)
    return {row[0]: _to_facts(row) for row in rows}


def read_awaited(tx: Transaction, facts: Mapping[int, JobFacts]) -> dict[int, str]:
    """Return a sentence that names the jobs that a job waits for, by job id.

    Jobs that wait for none, or for more than a sentence names, are omitted.
    """
    few = [each for each, job in facts.items() if 0 < job.unmet <= MAX_NAMED_JOBS]
    awaited: dict[int, list[tuple[int, str]]] = {}
    for job_id, on_job_id, accept in _READ_AWAITED.run(tx, job_ids=few) if few else ():
        awaited.setdefault(job_id, []).append((on_job_id, accept))
    return {job_id: describe_awaited(each) for job_id, each in awaited.items()}


def _to_facts(row: Row) -> JobFacts:
    state, name, hold, not_before_ms, unmet, ready_class, subject, code, why, deadline = row[3:]
    values: dict[str, Any] = {
        "state": state,
        "command": name or "",
        "hold": hold,
        "not_before_ms": not_before_ms,
        "unmet": unmet,
        "ready": ready_class is not None,
        "subject": subject,
        "reason_code": code,
        "reason": why,
        "deadline_ms": deadline,
    }
    return JobFacts(**values)
