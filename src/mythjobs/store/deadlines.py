"""Jobs that must have started by an instant, found by an index of those that have not."""

from __future__ import annotations

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, given, word

job = t.job

_WAITING = (job.c.deadline_ms.is_not(None), job.c.state == word(JobState.QUEUED))
_PASSED = Statement(
    select(job.c.job_id)
    .where(*_WAITING, job.c.deadline_ms <= given("at"))
    .order_by(job.c.deadline_ms)
    .limit(given("most"))
)
_NEXT = Statement(select(job.c.deadline_ms).where(*_WAITING).order_by(job.c.deadline_ms).limit(1))


def passed(tx: Transaction, at_ms: int, most: int) -> list[int]:
    """Queued jobs whose deadline has come, the earliest first."""
    return [row[0] for row in _PASSED.run(tx, at=at_ms, most=most)]


def next_ms(tx: Transaction) -> int | None:
    rows = _NEXT.run(tx)
    return rows[0][0] if rows else None
