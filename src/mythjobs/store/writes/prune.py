"""Pruning: deletes old ended jobs with their attempts, events and dependencies, in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job, batch, dependency = t.job, t.batch, t.dependency
dependent = job.alias("dependent")


class PruneSlice(NamedTuple):
    """Result of one slice.

    The next slice starts after job `resume_after`, None after the last. The stored output of
    `attempts` (job_id, n) can be deleted.
    """

    resume_after: int | None
    jobs: int
    attempts: list[tuple[int, int]]


_FINAL = [literal(state) for state in sorted(FINAL)]
_READ_SLICE = Statement(
    select(job.c.job_id, job.c.state, job.c.ended_ms)
    .where(job.c.job_id > param("after_job_id"))
    .order_by(job.c.job_id)
    .limit(param("limit"))
)
# Jobs of a batch are deleted once all of them have ended; a job on which another one depends,
# once that one has ended.
_FIND_DELETABLE = Statement(
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
            dependent.c.job_id == dependency.c.job_id,
            dependent.c.state.not_in(_FINAL),
        ),
    )
)
_DELETE_ATTEMPTS = Statement(
    delete(t.attempt)
    .where(in_list(t.attempt.c.job_id, "job_ids"))
    .returning(t.attempt.c.job_id, t.attempt.c.n)
)
_DELETE_EVENTS = Statement(delete(t.event).where(in_list(t.event.c.job_id, "job_ids")))
_DELETE_DEPENDENCIES = Statement(delete(dependency).where(in_list(dependency.c.job_id, "job_ids")))
_DELETE_JOBS = Statement(
    delete(job)
    .where(in_list(job.c.job_id, "job_ids"))
    .returning(job.c.command_id, job.c.state, func.coalesce(job.c.batch_id, literal_column("0")))
)
_DELETE_EMPTY_BATCHES = Statement(
    delete(batch).where(
        in_list(batch.c.batch_id, "batch_ids"),
        ~exists().where(
            job.c.job_id >= batch.c.first_job_id, job.c.job_id < batch.c.first_job_id + batch.c.jobs
        ),
    )
)


def prune(
    tx: Transaction, *, before_ms: int, states: Sequence[str], after_job_id: int, limit: int
) -> PruneSlice:
    """Of the next `limit` jobs, delete those that ended before a time in one of these states.

    Jobs of a batch that has not ended are kept, and jobs on which a job that has not ended
    depends. The key of a deleted job may be used again.
    """
    rows = _READ_SLICE.run(tx, after_job_id=after_job_id, limit=limit)
    old = [
        job_id
        for job_id, state, ended_ms in rows
        if state in states and ended_ms is not None and ended_ms < before_ms
    ]
    ids = [row[0] for row in _FIND_DELETABLE.run(tx, job_ids=old)] if old else []
    attempts = _delete(tx, ids) if ids else []
    return PruneSlice(rows[-1][0] if len(rows) == limit else None, len(ids), attempts)


def _delete(tx: Transaction, ids: list[int]) -> list[tuple[int, int]]:
    attempts = [(row[0], row[1]) for row in _DELETE_ATTEMPTS.run(tx, job_ids=ids)]
    _DELETE_EVENTS.run(tx, job_ids=ids)
    _DELETE_DEPENDENCIES.run(tx, job_ids=ids)
    batch_ids = set()
    for command_id, state, batch_id in _DELETE_JOBS.run(tx, job_ids=ids):
        tx.job_count_changes[command_id, state] -= 1
        batch_ids.add(batch_id)
    _DELETE_EMPTY_BATCHES.run(tx, batch_ids=sorted(batch_ids))
    return attempts
