"""Jobs that are not placed for a while, because no machine could start them now."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job = t.job

_DEFER = Statement(
    update(job)
    .where(job.c.job_id == param("id"), job.c.state == literal(JobState.QUEUED))
    .values(not_before_ms=param("until_ms"), reason_code=param("code"), reason=param("sentence"))
)
_MAKE_DUE = Statement(
    update(job)
    .where(
        job.c.job_id.in_(
            select(job.c.job_id)
            .where(
                job.c.not_before_ms.is_not(None),
                # A range of the index, which may have a million other jobs.
                job.c.not_before_ms > param("at_ms"),
                job.c.not_before_ms <= param("until_ms"),
                job.c.reason_code == param("code"),
            )
            .order_by(job.c.not_before_ms)
            .limit(param("limit"))
            .correlate(None)
        )
    )
    .values(not_before_ms=param("at_ms"))
    .returning(job.c.job_id)
)


def defer(tx: Transaction, code: str, rows: Sequence[tuple[int, int, str]]) -> None:
    """Set the start times of queued jobs: rows of (job id, time in ms, reason). The caller updates
    their readiness."""
    _DEFER.run_many(
        tx,
        [
            {"id": job_id, "until_ms": until_ms, "code": code, "sentence": sentence}
            for job_id, until_ms, sentence in rows
        ],
    )


def make_due(tx: Transaction, code: str, at_ms: int, until_ms: int, limit: int) -> int:
    """Let up to `limit` jobs that were deferred for this reason, until `until_ms` or earlier, be
    placed from `at_ms` on. Return the number of such jobs."""
    return len(_MAKE_DUE.run(tx, code=code, at_ms=at_ms, until_ms=until_ms, limit=limit))
