"""What the rules of eligibility ask of a job itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.scheduler.eligibility import JobFacts
from mythjobs.store import tables as t
from mythjobs.store.statement import Row, Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job = t.job

_ASK = select(
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
_QUEUED = _ASK.where(job.c.state == literal(JobState.QUEUED))

_FACTS = Statement(_ASK.where(job.c.job_id == param("which")))
_SOME = Statement(_QUEUED.where(in_list(job.c.job_id, "job_ids")))
_SLICE = Statement(
    _QUEUED.where(job.c.job_id > param("above")).order_by(job.c.job_id).limit(param("most"))
)

_CLASS = Statement(select(job.c.class_id).where(job.c.job_id == param("which")))

_CLASSES = Statement(select(job.c.job_id, job.c.class_id).where(in_list(job.c.job_id, "job_ids")))


def read_class_id(tx: Transaction, job_id: int) -> int:
    """The class of a job that is there."""
    return int(_CLASS.run(tx, which=job_id)[0][0])


def read_class_ids(tx: Transaction, job_ids: Sequence[int]) -> dict[int, int]:
    """The class of each of these jobs."""
    return {row[0]: row[1] for row in _CLASSES.run(tx, job_ids=list(job_ids))}


def read_job_facts(tx: Transaction, job_id: int) -> JobFacts | None:
    """None if there is no such job, or its batch is not whole yet."""
    rows = _FACTS.run(tx, which=job_id)
    if not rows or (rows[0][1] is not None and rows[0][2] is None):
        return None
    return _from(rows[0])


def read_queued(tx: Transaction, job_ids: Sequence[int]) -> dict[int, JobFacts]:
    """The facts of those of these jobs that are queued."""
    return {row[0]: _from(row) for row in _SOME.run(tx, job_ids=list(job_ids))}


def read_queued_above(tx: Transaction, above: int, most: int) -> dict[int, JobFacts]:
    """The facts of the next queued jobs by number."""
    return {row[0]: _from(row) for row in _SLICE.run(tx, above=above, most=most)}


def _from(row: Row) -> JobFacts:
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
