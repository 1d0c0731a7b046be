"""Batches: their jobs are inserted invisible, opened all at once, then made ready in slices."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, case, delete, func, insert, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import upkeep
from mythjobs.store.writes.upkeep import Upkeep, UpkeepKind

batch, job, meta = t.batch, t.job, t.meta

# Value of job.hold while the job's batch is not open; a user's hold is 1.
HOLD_UNOPENED = 2


_READ_DELETED_ID = select(meta.c.value).where(meta.c.name == literal("deleted_batch_id"))
_FIND_LAST_IDS = Statement(
    select(func.coalesce(func.max(batch.c.batch_id), 0), _READ_DELETED_ID.scalar_subquery())
)
_FORGET_DELETED_ID = Statement(delete(meta).where(meta.c.name == literal("deleted_batch_id")))
_INSERT_META = Statement(insert(meta), meta.c.keys())
_INSERT = Statement(insert(batch), batch.c.keys())
_SET_OPENED = Statement(
    update(batch).where(batch.c.batch_id == param("batch_id")).values(opened_ms=param("at_ms"))
)
_FIND_UNOPENED = Statement(
    select(batch.c.batch_id, batch.c.first_job_id, batch.c.jobs)
    .where(batch.c.opened_ms.is_(None))
    .with_hint(batch, "INDEXED BY batch_unopened", "sqlite")
)
_READ_OPENED_MS = Statement(select(batch.c.opened_ms).where(batch.c.batch_id == param("batch_id")))
_IN_RANGE = (job.c.job_id >= param("first"), job.c.job_id <= param("last"))
_DELETE_JOBS = Statement(delete(job).where(*_IN_RANGE).returning(job.c.command_id, job.c.state))
_DELETE_UNOPENED = Statement(
    delete(batch).where(
        batch.c.opened_ms.is_(None), batch.c.first_job_id + batch.c.jobs - 1 == param("last")
    )
)
_IS_UNOPENED = (*_IN_RANGE, job.c.hold == HOLD_UNOPENED, job.c.state == literal(JobState.QUEUED))
_MAKE_READY = Statement(
    update(job)
    .where(*_IS_UNOPENED)
    .values(
        hold=0,
        ready_class=case(
            (and_(job.c.subject.is_(None), job.c.not_before_ms.is_(None)), job.c.class_id),
            else_=None,
        ),
    )
)
_MAKE_HELD = Statement(update(job).where(*_IS_UNOPENED).values(hold=1))
_READ_CLASSES_AND_SUBJECTS = Statement(
    select(job.c.class_id, job.c.subject).where(*_IN_RANGE).distinct()
)


def begin_batch(
    tx: Transaction,
    *,
    command_id: int,
    first_job_id: int,
    jobs: int,
    at_ms: int,
    opened_ms: int | None,
) -> int:
    """Insert a batch; return its id.

    opened_ms: None if the batch is opened later; its jobs are invisible before it is opened.
    """
    batch_id = max(_find_last_ids(tx)) + 1
    _INSERT.run(
        tx,
        batch_id=batch_id,
        command_id=command_id,
        first_job_id=first_job_id,
        jobs=jobs,
        submitted_ms=at_ms,
        opened_ms=opened_ms,
        succeeded=0,
        failed=0,
        cancelled=0,
    )
    return batch_id


def _find_last_ids(tx: Transaction) -> tuple[int, int]:
    """Return the largest id of a batch that is stored, and of one that was deleted."""
    stored, deleted = _FIND_LAST_IDS.run(tx)[0]
    return int(stored), int(deleted or 0)


def record_deleted(tx: Transaction, batch_ids: Sequence[int]) -> None:
    """Record that these batches have been deleted, so that no other batch gets their ids."""
    last_id = max(batch_ids, default=0)
    if last_id > _find_last_ids(tx)[1]:
        _FORGET_DELETED_ID.run(tx)
        _INSERT_META.run(tx, name="deleted_batch_id", value=str(last_id))


def open_batch(
    tx: Transaction, batch_id: int, first: int, last: int, *, held: bool, at_ms: int
) -> None:
    """Make a batch visible, and record upkeep: later turns make its jobs ready, or hold them.

    first, last: ids of the batch's first and last job.
    """
    _SET_OPENED.run(tx, batch_id=batch_id, at_ms=at_ms)
    upkeep.add(tx, UpkeepKind.OPEN_HELD if held else UpkeepKind.OPEN, first, last)


def is_open(tx: Transaction, batch_id: int) -> bool:
    """Return whether all jobs of a batch have been inserted, so that they are visible."""
    rows = _READ_OPENED_MS.run(tx, batch_id=batch_id)
    return bool(rows) and rows[0][0] is not None


def drop_unopened(tx: Transaction, batch_id: int | None = None) -> None:
    """Record the upkeep that deletes batches whose last slice of jobs is not stored.

    batch_id: delete only this batch; None, at the master's start, deletes all such batches.
    """
    dropped = {each.last_job_id for each in upkeep.read_all(tx) if each.kind == UpkeepKind.DROP}
    for unopened_id, first, jobs in _FIND_UNOPENED.run(tx):
        last = first + jobs - 1
        if batch_id in (None, unopened_id) and last not in dropped:
            upkeep.add(tx, UpkeepKind.DROP, first, last)


def drop_slice(tx: Transaction, work: Upkeep, limit: int) -> None:
    """Delete the next `limit` jobs of a batch that was never opened; at last, the batch itself."""
    last = min(work.next_job_id + limit - 1, work.last_job_id)
    for command_id, state in _DELETE_JOBS.run(tx, first=work.next_job_id, last=last):
        tx.job_count_changes[command_id, state] -= 1
    if last == work.last_job_id:
        _DELETE_UNOPENED.run(tx, last=last)
    upkeep.advance(tx, work, last + 1)


def open_slice(tx: Transaction, work: Upkeep, limit: int) -> list[tuple[int, str | None]]:
    """Make the next `limit` jobs of an opened batch ready, or hold them.

    Return the distinct (class id, subject) of these jobs. The caller must refresh the readiness of
    jobs with a subject.
    """
    first, last = work.next_job_id, min(work.next_job_id + limit - 1, work.last_job_id)
    statement = _MAKE_HELD if work.kind == UpkeepKind.OPEN_HELD else _MAKE_READY
    statement.run(tx, first=first, last=last)
    upkeep.advance(tx, work, last + 1)
    return [(row[0], row[1]) for row in _READ_CLASSES_AND_SUBJECTS.run(tx, first=first, last=last)]
