"""Deletes jobs that are over and old, with all that hangs on them, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job, batch, dependency = t.job, t.batch, t.dependency
waiting = job.alias("waiting")


class PruneSlice(NamedTuple):
    """`above` is where the next slice goes on, None after the last; `attempts` (job, n) are those
    whose kept output can go too."""

    above: int | None
    jobs: int
    attempts: list[tuple[int, int]]


_FINAL = [literal(state) for state in sorted(FINAL)]
_LOOK = Statement(
    select(job.c.job_id, job.c.state, job.c.ended_ms)
    .where(job.c.job_id > param("above"))
    .order_by(job.c.job_id)
    .limit(param("most"))
)
# A batch goes as a whole, and whoever is not over keeps what it waited for.
_FREE = Statement(
    select(job.c.job_id).where(
        in_list(job.c.job_id, "job_ids"),
        or_(
            job.c.batch_id.is_(None),
            ~exists().where(
                batch.c.batch_id == job.c.batch_id,
                batch.c.succeeded + batch.c.failed + batch.c.cancelled < batch.c.jobs,
            ),
        ),
        ~exists().where(
            dependency.c.on_job_id == job.c.job_id,
            waiting.c.job_id == dependency.c.job_id,
            waiting.c.state.not_in(_FINAL),
        ),
    )
)
_ATTEMPTS = Statement(
    delete(t.attempt)
    .where(in_list(t.attempt.c.job_id, "job_ids"))
    .returning(t.attempt.c.job_id, t.attempt.c.n)
)
_EVENTS = Statement(delete(t.event).where(in_list(t.event.c.job_id, "job_ids")))
_DEPENDENCIES = Statement(delete(dependency).where(in_list(dependency.c.job_id, "job_ids")))
_JOBS = Statement(
    delete(job)
    .where(in_list(job.c.job_id, "job_ids"))
    .returning(job.c.command_id, job.c.state, func.coalesce(job.c.batch_id, literal_column("0")))
)
_BATCHES = Statement(
    delete(batch).where(
        in_list(batch.c.batch_id, "batch_ids"),
        ~exists().where(
            job.c.job_id >= batch.c.first_job_id,
            job.c.job_id < batch.c.first_job_id + batch.c.jobs,
        ),
    )
)


def prune(
    tx: Transaction, *, before_ms: int, states: Sequence[str], above: int, most: int
) -> PruneSlice:
    """Of the next `most` jobs after number `above`, deletes those that ended before an instant
    in one of these states.

    Kept are the jobs of a batch of which some are not over, and those that a job which is not
    over waited for. The key of a deleted job is free again.
    """
    rows = _LOOK.run(tx, above=above, most=most)
    old = [
        job_id
        for job_id, state, ended_ms in rows
        if state in states and ended_ms is not None and ended_ms < before_ms
    ]
    ids = [row[0] for row in _FREE.run(tx, job_ids=old)] if old else []
    attempts = _delete(tx, ids) if ids else []
    return PruneSlice(rows[-1][0] if len(rows) == most else None, len(ids), attempts)


def _delete(tx: Transaction, ids: list[int]) -> list[tuple[int, int]]:
    attempts = [(row[0], row[1]) for row in _ATTEMPTS.run(tx, job_ids=ids)]
    _EVENTS.run(tx, job_ids=ids)
    _DEPENDENCIES.run(tx, job_ids=ids)
    batch_ids = set()
    for command_id, state, batch_id in _JOBS.run(tx, job_ids=ids):
        tx.job_count_changes[command_id, state] -= 1
        batch_ids.add(batch_id)
    _BATCHES.run(tx, batch_ids=sorted(batch_ids))
    return attempts
