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
from mythjobs.store.statement import Statement, Transaction, given, one_of, word
from mythjobs.store.writes import jobs
from mythjobs.store.writes.batches import CLOSED

job, attempt = t.job, t.attempt

# Of what was given meanwhile nothing is known if the later store is lost: so much is left out.
JOBS_LEFT_OUT: Final = 1_000_000
ATTEMPTS_LEFT_OUT: Final = 1000
_SLICE_JOBS: Final = 5000

_QUEUED = Statement(
    select(job.c.job_id, job.c.attempts)
    .where(job.c.state == word(JobState.QUEUED), job.c.job_id > given("above"))
    .order_by(job.c.job_id)
    .limit(_SLICE_JOBS)
)
_ATTEMPTS = Statement(
    select(job.c.job_id, job.c.attempts).where(one_of(job.c.job_id, "job_ids")),
)
_LIVE = Statement(select(attempt.c.job_id, attempt.c.n).where(attempt.c.over_ms.is_(None)))
_SET_ATTEMPTS = Statement(
    update(job).where(job.c.job_id == given("which")).values(attempts=given("n")), distinct=True
)
_HOLD = Statement(
    update(job)
    .where(job.c.state == word(JobState.QUEUED), job.c.hold != CLOSED)
    .values(hold=1, ready_class=None, reason_code=given("code"), reason=given("sentence"))
)


class Later(NamedTuple):
    """The store that was in use until now; `live` are the attempts (job, n) that it knew of."""

    tx: Transaction
    next_job_id: int
    live: frozenset[tuple[int, int]]


def later(tx: Transaction) -> Later:
    return Later(tx, jobs.next_id(tx), frozenset(_pairs(_LIVE.run(tx))))


def hold_queued(tx: Transaction, sentence: str) -> int:
    """Holds all that wait, as a person would; answers how many those are."""
    return _HOLD.run_many(tx, [{"code": "held", "sentence": sentence}])


def rise(tx: Transaction, used: Later | None) -> int:
    """Raises the numbers of new jobs, and of the attempts of those that are queued, above all that
    may have been given. Answers the number of the next job."""
    for queued in _queued(tx):
        known = {} if used is None else _attempts(used.tx, list(queued))
        rows = [
            {"which": job_id, "n": max(n, known.get(job_id, n + ATTEMPTS_LEFT_OUT))}
            for job_id, n in queued.items()
        ]
        _SET_ATTEMPTS.run_many(tx, rows)
    own = jobs.next_id(tx)
    if used is None:
        next_id = (own // JOBS_LEFT_OUT + 2) * JOBS_LEFT_OUT
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
