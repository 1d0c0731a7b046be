"""Deadlines: times by which jobs must have started."""

from __future__ import annotations

from sqlalchemy import exists, select

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.batches import HOLD_UNOPENED

job, attempt = t.job, t.attempt

_QUEUED = (job.c.deadline_ms.is_not(None), job.c.state == literal(JobState.QUEUED))
_FIND_MISSED = Statement(
    select(job.c.job_id)
    .where(
        *_QUEUED,
        job.c.deadline_ms <= param("at_ms"),
        # Leave out jobs of batches that are still being submitted and may yet be discarded.
        job.c.hold != HOLD_UNOPENED,
        # Leave out jobs that have started once: they met the deadline, even if they run again.
        ~exists().where(attempt.c.job_id == job.c.job_id, attempt.c.started_ms.is_not(None)),
    )
    .order_by(job.c.deadline_ms)
    .limit(param("limit"))
)
_FIND_NEXT = Statement(
    select(job.c.deadline_ms)
    .where(*_QUEUED, job.c.deadline_ms > param("after_ms"))
    .order_by(job.c.deadline_ms)
    .limit(1)
)


def find_missed(tx: Transaction, at_ms: int, limit: int) -> list[int]:
    """Return the ids of jobs that have never started by their deadline, earliest deadline first."""
    return [row[0] for row in _FIND_MISSED.run(tx, at_ms=at_ms, limit=limit)]


def find_next_ms(tx: Transaction, after_ms: int) -> int | None:
    """Return the earliest deadline of a queued job that is after `after_ms`, or None."""
    rows = _FIND_NEXT.run(tx, after_ms=after_ms)
    return rows[0][0] if rows else None
