"""Jobs that must have started by an instant, found by an index of those that have not."""

from __future__ import annotations

from sqlalchemy import exists, select

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, literal, param
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.batches import HOLD_UNOPENED

job, attempt = t.job, t.attempt

_WAITING = (job.c.deadline_ms.is_not(None), job.c.state == literal(JobState.QUEUED))
_PASSED = Statement(
    select(job.c.job_id)
    .where(
        *_WAITING,
        job.c.deadline_ms <= param("at"),
        # Not of a batch that is still being made ready: it may yet be taken away.
        job.c.hold != HOLD_UNOPENED,
        # One that had started in time, and is queued again, only is late.
        ~exists().where(attempt.c.job_id == job.c.job_id, attempt.c.started_ms.is_not(None)),
    )
    .order_by(job.c.deadline_ms)
    .limit(param("most"))
)
_NEXT = Statement(
    select(job.c.deadline_ms)
    .where(*_WAITING, job.c.deadline_ms > param("after"))
    .order_by(job.c.deadline_ms)
    .limit(1)
)


def find_missed(tx: Transaction, at_ms: int, most: int) -> list[int]:
    """Jobs that have never started and whose deadline has come, the earliest first."""
    return [row[0] for row in _PASSED.run(tx, at=at_ms, most=most)]


def find_next_ms(tx: Transaction, after_ms: int) -> int | None:
    """The first deadline behind this instant that anything waits for."""
    rows = _NEXT.run(tx, after=after_ms)
    return rows[0][0] if rows else None
