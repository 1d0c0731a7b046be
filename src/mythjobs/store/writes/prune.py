"""Deletion of ended jobs with their attempts, events, dependencies and output records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import and_, delete, exists, func, literal_column, not_, or_, select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, outputs

job, batch, dependency = t.job, t.batch, t.dependency
dependent = job.alias("dependent")

# Maximum number of jobs that one turn deletes.
SLICE_JOBS: Final = 500

_FINAL = [literal(state) for state in sorted(FINAL)]
# Condition that a job may be deleted. A job must have ended; if it is part of a batch, all jobs of
# the batch must have ended too, and so must all jobs that depend on it.
IS_DELETABLE = and_(
    job.c.state.in_(_FINAL),
    or_(
        job.c.batch_id.is_(None),
        not_(
            exists().where(
                batch.c.batch_id == job.c.batch_id,
                batch.c.succeeded + batch.c.failed + batch.c.cancelled < batch.c.jobs,
            )
        ),
    ),
    not_(
        exists().where(
            dependency.c.on_job_id == job.c.job_id,
            dependent.c.job_id == dependency.c.job_id,
            dependent.c.state.not_in(_FINAL),
        )
    ),
)
_FIND_DELETABLE = Statement(
    select(job.c.job_id).where(in_list(job.c.job_id, "job_ids"), IS_DELETABLE)
)
_DELETE_ATTEMPTS = Statement(delete(t.attempt).where(in_list(t.attempt.c.job_id, "job_ids")))
_DELETE_EVENTS = Statement(delete(t.event).where(in_list(t.event.c.job_id, "job_ids")))
_DELETE_DEPENDENCIES = Statement(delete(dependency).where(in_list(dependency.c.job_id, "job_ids")))
_DELETE_JOBS = Statement(
    delete(job)
    .where(in_list(job.c.job_id, "job_ids"))
    .returning(job.c.command_id, job.c.state, func.coalesce(job.c.batch_id, literal_column("0")))
)
_DELETE_EMPTY_BATCHES = Statement(
    delete(batch)
    .where(
        in_list(batch.c.batch_id, "batch_ids"),
        ~exists().where(
            job.c.job_id >= batch.c.first_job_id, job.c.job_id < batch.c.first_job_id + batch.c.jobs
        ),
    )
    .returning(batch.c.batch_id)
)
_DELETE_FIRST_ATTEMPTS = Statement(
    delete(t.attempt).where(
        t.attempt.c.job_id == param("job_id"),
        t.attempt.c.n <= param("last_n"),
        t.attempt.c.over_ms.is_not(None),
    )
)
_DELETE_FIRST_EVENTS = Statement(
    delete(t.event).where(
        t.event.c.job_id == param("job_id"), t.event.c.n > 0, t.event.c.n <= param("last_n")
    )
)


def delete_jobs(tx: Transaction, job_ids: Sequence[int]) -> int:
    """Delete the given jobs, except those that must be kept; return the number of deleted jobs.

    A job is kept while its batch, or a job that depends on it, has not ended. The key of a deleted
    job may be used again. The caller must delete the jobs' output first, so that no output is left
    if the master is killed in between.
    """
    ids = [row[0] for row in _FIND_DELETABLE.run(tx, job_ids=list(job_ids))]
    if not ids:
        return 0
    outputs.remove_of_jobs(tx, ids)
    _DELETE_ATTEMPTS.run(tx, job_ids=ids)
    _DELETE_EVENTS.run(tx, job_ids=ids)
    _DELETE_DEPENDENCIES.run(tx, job_ids=ids)
    batch_ids = set()
    for command_id, state, batch_id in _DELETE_JOBS.run(tx, job_ids=ids):
        tx.job_count_changes[command_id, state] -= 1
        batch_ids.add(batch_id)
    deleted = _DELETE_EMPTY_BATCHES.run(tx, batch_ids=sorted(batch_ids))
    if deleted:
        batches.record_deleted(tx, [row[0] for row in deleted])
    return len(ids)


def delete_first_attempts(tx: Transaction, job_id: int, last_n: int) -> None:
    """Delete the attempts of an open job up to number `last_n`, and their events."""
    _DELETE_FIRST_ATTEMPTS.run(tx, job_id=job_id, last_n=last_n)
    _DELETE_FIRST_EVENTS.run(tx, job_id=job_id, last_n=last_n)
