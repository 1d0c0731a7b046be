"""Ended jobs, which `what-if` replays."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, literal, param
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
        job.c.submitted_ms >= param("since_ms"),
    )
    .order_by(job.c.job_id.desc())
    .limit(_MAX_JOBS)
)


class EndedJob(NamedTuple):
    """An ended job with its last attempt."""

    job_id: int
    submitted_ms: int
    class_id: int
    priority: int
    started_ms: int
    over_ms: int
    machine_id: int
    deadline_ms: int | None


def read_ended_jobs(tx: Transaction, since_ms: int) -> list[EndedJob]:
    """Return jobs submitted since a time that ran and ended, the last 20,000, oldest first."""
    return [EndedJob(*row) for row in reversed(_READ_ENDED.run(tx, since_ms=since_ms))]
