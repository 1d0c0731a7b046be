"""Id recovery: raises ids and attempt numbers of a restored store above all that were ever issued.

A restored store does not know which ids were issued after the backup. Machines may run attempts
with such ids, and directories may hold their output (invariant I5 in docs/store.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs
from mythjobs.store.writes.batches import HOLD_UNOPENED

job, attempt = t.job, t.attempt

# Job ids, and attempt numbers of each queued job, to skip if the store that the backup replaces
# cannot be read: then it is unknown which of them were issued after the backup.
JOB_IDS_SKIPPED: Final = 1_000_000
ATTEMPTS_SKIPPED: Final = 1000
_SLICE_JOBS: Final = 5000

_READ_QUEUED = Statement(
    select(job.c.job_id, job.c.attempts)
    .where(job.c.state == literal(JobState.QUEUED), job.c.job_id > param("after_job_id"))
    .order_by(job.c.job_id)
    .limit(_SLICE_JOBS)
)
_READ_ATTEMPTS = Statement(
    select(job.c.job_id, job.c.attempts).where(in_list(job.c.job_id, "job_ids"))
)
_READ_LIVE = Statement(select(attempt.c.job_id, attempt.c.n).where(attempt.c.over_ms.is_(None)))
_SET_ATTEMPTS = Statement(
    update(job).where(job.c.job_id == param("job_id")).values(attempts=param("n")), unique_rows=True
)
_HOLD_QUEUED = Statement(
    update(job)
    .where(job.c.state == literal(JobState.QUEUED), job.c.hold != HOLD_UNOPENED)
    .values(hold=1, ready_class=None, reason_code=param("code"), reason=param("sentence"))
)


class RestoredIds(NamedTuple):
    """Ids issued by the store that a restore replaces; the restored store must not reuse them.

    tx: transaction on the replaced store. live: its live attempts as (job id, attempt number).
    """

    tx: Transaction
    next_job_id: int
    live: frozenset[tuple[int, int]]


def read_restored_ids(tx: Transaction) -> RestoredIds:
    return RestoredIds(tx, jobs.read_next_id(tx), frozenset(_pairs(_READ_LIVE.run(tx))))


def hold_queued(tx: Transaction, sentence: str) -> int:
    """Hold all queued jobs until a user releases them; return the number of held jobs."""
    return _HOLD_QUEUED.run_many(tx, [{"code": "held", "sentence": sentence}])


def raise_ids(tx: Transaction, replaced: RestoredIds | None) -> int:
    """Raise the next job id, and queued jobs' attempt numbers, above all that were issued.

    replaced: None if nothing is known about the replaced store. Return the next job id.
    """
    for queued in _read_queued(tx):
        known = {} if replaced is None else _read_attempts(replaced.tx, list(queued))
        rows = [
            {"job_id": job_id, "n": max(n, known.get(job_id, n + ATTEMPTS_SKIPPED))}
            for job_id, n in queued.items()
        ]
        _SET_ATTEMPTS.run_many(tx, rows)
    next_id = jobs.read_next_id(tx)
    if replaced is None:
        next_id = (next_id // JOB_IDS_SKIPPED + 2) * JOB_IDS_SKIPPED
    else:
        next_id = max(next_id, replaced.next_job_id)
    jobs.save_next_id(tx, next_id)
    return next_id


def _read_attempts(tx: Transaction, job_ids: list[int]) -> dict[int, int]:
    return dict(_pairs(_READ_ATTEMPTS.run(tx, job_ids=job_ids)))


def _read_queued(tx: Transaction) -> Iterator[dict[int, int]]:
    """Yield the queued jobs in slices, each a dict from job id to last attempt number."""
    after_job_id = 0
    while queued := dict(_pairs(_READ_QUEUED.run(tx, after_job_id=after_job_id))):
        yield queued
        after_job_id = max(queued)


def _pairs(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(row[0], row[1]) for row in rows]
