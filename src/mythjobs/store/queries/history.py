"""Query for ended jobs, which `mythjobs what-if` replays under changed settings."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import func, select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job, attempt = t.job, t.attempt

_MAX_JOBS: Final = 20_000
_READ_ENDED = Statement(
    select(
        job.c.job_id,
        job.c.submitted_ms,
        job.c.class_id,
        job.c.priority,
        attempt.c.started_ms,
        attempt.c.over_ms,
        attempt.c.machine_id,
        job.c.deadline_ms,
    )
    .where(
        job.c.state.in_([literal(state) for state in sorted(FINAL)]),
        attempt.c.job_id == job.c.job_id,
        attempt.c.n == job.c.attempts,
        attempt.c.started_ms.is_not(None),
        attempt.c.over_ms.is_not(None),
        job.c.job_id >= param("first_id"),
        job.c.submitted_ms >= param("since_ms"),
    )
    .order_by(job.c.job_id.desc())
    .limit(_MAX_JOBS)
)
_READ_MAX_ID = Statement(select(func.coalesce(func.max(job.c.job_id), 0)))
_READ_NEXT_SUBMITTED = Statement(
    select(job.c.job_id, job.c.submitted_ms)
    .where(job.c.job_id >= param("job_id"))
    .order_by(job.c.job_id)
    .limit(1)
)


class EndedJob(NamedTuple):
    """An ended job with the times of its last attempt."""

    job_id: int
    submitted_ms: int
    class_id: int
    priority: int
    started_ms: int
    over_ms: int
    machine_id: int
    deadline_ms: int | None


def read_ended_jobs(tx: Transaction, since_ms: int) -> list[EndedJob]:
    """Return the jobs submitted since `since_ms` that ran and ended, oldest first.

    If there are more than 20,000, return the last 20,000.
    """
    first_id = _find_first_id(tx, since_ms)
    rows = _READ_ENDED.run(tx, first_id=first_id, since_ms=since_ms)
    return [EndedJob(*row) for row in reversed(rows)]


def _find_first_id(tx: Transaction, since_ms: int) -> int:
    """Find the id of the first job submitted since `since_ms`, by binary search.

    Ids rise with the time of submission, unless the clock was set back; then some jobs that were
    submitted around `since_ms` may be left out.
    """
    first, last = 0, int(_READ_MAX_ID.run(tx)[0][0]) + 1
    while first < last:
        middle = (first + last) // 2
        found = _READ_NEXT_SUBMITTED.run(tx, job_id=middle)
        if not found or found[0][1] >= since_ms:
            last = middle
        else:
            first = found[0][0] + 1
    return first
