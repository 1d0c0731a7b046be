"""Numbers that nobody had, for a store that was put back to an earlier state.

What it gave since then it does not know; machines may hold, and directories keep, what bears
those numbers (I5 of docs/store.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs
from mythjobs.store.writes.batches import HOLD_UNOPENED

job, attempt = t.job, t.attempt

# Of what was given meanwhile nothing is known if the later store is lost: so much is left out.
JOB_IDS_SKIPPED: Final = 1_000_000
ATTEMPTS_SKIPPED: Final = 1000
_SLICE_JOBS: Final = 5000

_QUEUED = Statement(
    select(job.c.job_id, job.c.attempts)
    .where(job.c.state == literal(JobState.QUEUED), job.c.job_id > param("above"))
    .order_by(job.c.job_id)
    .limit(_SLICE_JOBS)
)
_ATTEMPTS = Statement(
    select(job.c.job_id, job.c.attempts).where(in_list(job.c.job_id, "job_ids")),
)
_LIVE = Statement(select(attempt.c.job_id, attempt.c.n).where(attempt.c.over_ms.is_(None)))
_SET_ATTEMPTS = Statement(
    update(job).where(job.c.job_id == param("which")).values(attempts=param("n")), unique_rows=True
)
_HOLD = Statement(
    update(job)
    .where(job.c.state == literal(JobState.QUEUED), job.c.hold != HOLD_UNOPENED)
    .values(hold=1, ready_class=None, reason_code=param("code"), reason=param("sentence"))
)


class RestoredIds(NamedTuple):
    """The store that was in use until now; `live` are the attempts (job, n) that it knew of."""

    tx: Transaction
    next_job_id: int
    live: frozenset[tuple[int, int]]


def read_restored_ids(tx: Transaction) -> RestoredIds:
    return RestoredIds(tx, jobs.read_next_id(tx), frozenset(_pairs(_LIVE.run(tx))))


def hold_queued(tx: Transaction, sentence: str) -> int:
    """Holds all that wait, as a person would; answers how many those are."""
    return _HOLD.run_many(tx, [{"code": "held", "sentence": sentence}])


def raise_ids(tx: Transaction, used: RestoredIds | None) -> int:
    """Raises the numbers of new jobs, and of the attempts of those that are queued, above all that
    may have been given. Answers the number of the next job."""
    for queued in _queued(tx):
        known = {} if used is None else _attempts(used.tx, list(queued))
        rows = [
            {"which": job_id, "n": max(n, known.get(job_id, n + ATTEMPTS_SKIPPED))}
            for job_id, n in queued.items()
        ]
        _SET_ATTEMPTS.run_many(tx, rows)
    own = jobs.read_next_id(tx)
    if used is None:
        next_id = (own // JOB_IDS_SKIPPED + 2) * JOB_IDS_SKIPPED
    else:
        next_id = max(own, used.next_job_id)
    jobs.save_next_id(tx, next_id)
    return next_id


def _attempts(tx: Transaction, job_ids: list[int]) -> dict[int, int]:
    return dict(_pairs(_ATTEMPTS.run(tx, job_ids=job_ids)))


def _queued(tx: Transaction) -> Iterator[dict[int, int]]:
    above = 0
    while some := dict(_pairs(_QUEUED.run(tx, above=above))):
        yield some
        above = max(some)


def _pairs(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(row[0], row[1]) for row in rows]
