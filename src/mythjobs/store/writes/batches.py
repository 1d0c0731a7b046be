"""Batches: inserted invisibly, opened at once, then made ready in slices."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import and_, case, delete, func, insert, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, literal, param
from mythjobs.store.transaction import Transaction

batch, job, upkeep = t.batch, t.job, t.upkeep

# Value of job.hold while the job's batch is not open; a user's hold is 1.
HOLD_UNOPENED = 2


class Upkeep(NamedTuple):
    """Pending work on the jobs of an opened batch."""

    upkeep_id: int
    kind: str
    next_job_id: int
    last_job_id: int


_FIND_NEXT_ID = Statement(select(func.coalesce(func.max(batch.c.batch_id), 0) + 1))
_INSERT = Statement(insert(batch), batch.c.keys())
_SET_OPENED = Statement(
    update(batch).where(batch.c.batch_id == param("batch_id")).values(opened_ms=param("at_ms"))
)
_FIND_UNOPENED = Statement(
    select(batch.c.batch_id, batch.c.first_job_id, batch.c.jobs, batch.c.command_id).where(
        batch.c.opened_ms.is_(None)
    )
)
_READ_OPENED_MS = Statement(select(batch.c.opened_ms).where(batch.c.batch_id == param("batch_id")))
_IN_RANGE = (job.c.job_id >= param("first"), job.c.job_id <= param("last"))
_COUNT_JOBS = Statement(select(func.count()).select_from(job).where(*_IN_RANGE))
_DELETE_JOBS = Statement(delete(job).where(*_IN_RANGE))
_DELETE = Statement(delete(batch).where(batch.c.batch_id == param("batch_id")))
_FIND_NEXT_UPKEEP_ID = Statement(select(func.coalesce(func.max(upkeep.c.upkeep_id), 0) + 1))
_INSERT_UPKEEP = Statement(insert(upkeep), Upkeep._fields)
_FIND_UPKEEP = Statement(
    select(*(upkeep.c[name] for name in Upkeep._fields))
    .order_by(upkeep.c.upkeep_id)
    .limit(param("limit"))
)
_ADVANCE_UPKEEP = Statement(
    update(upkeep)
    .where(upkeep.c.upkeep_id == param("upkeep_id"))
    .values(next_job_id=param("next_job_id"))
)
_DELETE_UPKEEP = Statement(delete(upkeep).where(upkeep.c.upkeep_id == param("upkeep_id")))
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
    """Insert a batch; return its id. `opened_ms` None: its jobs stay invisible until opened."""
    batch_id = int(_FIND_NEXT_ID.run(tx)[0][0])
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


def open_batch(
    tx: Transaction, batch_id: int, first: int, last: int, *, held: bool, at_ms: int
) -> None:
    """Make a batch visible, and record the upkeep that makes its jobs ready (or held)."""
    _SET_OPENED.run(tx, batch_id=batch_id, at_ms=at_ms)
    _INSERT_UPKEEP.run(
        tx,
        upkeep_id=int(_FIND_NEXT_UPKEEP_ID.run(tx)[0][0]),
        kind="open_held" if held else "open",
        next_job_id=first,
        last_job_id=last,
    )


def is_open(tx: Transaction, batch_id: int) -> bool:
    """Return whether the batch is complete, so that its jobs are visible."""
    rows = _READ_OPENED_MS.run(tx, batch_id=batch_id)
    return bool(rows) and rows[0][0] is not None


def drop_unopened(tx: Transaction, batch_id: int | None = None) -> int:
    """Delete incomplete batches (one, or all of them at a start) with their jobs.

    Return the number of deleted jobs.
    """
    dropped = 0
    for unopened_id, first, jobs, command_id in _FIND_UNOPENED.run(tx):
        if batch_id not in (None, unopened_id):
            continue
        last = first + jobs - 1
        count = int(_COUNT_JOBS.run(tx, first=first, last=last)[0][0])
        _DELETE_JOBS.run(tx, first=first, last=last)
        _DELETE.run(tx, batch_id=unopened_id)
        tx.job_count_changes[command_id, "queued"] -= count
        dropped += count
    return dropped


def find_next_upkeep(tx: Transaction, skipped: Collection[int] = ()) -> Upkeep | None:
    """Return the oldest pending work that is not in `skipped` (upkeep ids)."""
    rows = [Upkeep(*row) for row in _FIND_UPKEEP.run(tx, limit=1 + len(skipped))]
    return next((each for each in rows if each.upkeep_id not in skipped), None)


def run_upkeep_slice(tx: Transaction, upkeep: Upkeep, limit: int) -> list[tuple[int, str | None]]:
    """Open the next `limit` jobs; return the distinct (class_id, subject) among them."""
    first, last = upkeep.next_job_id, min(upkeep.next_job_id + limit - 1, upkeep.last_job_id)
    statement = _MAKE_HELD if upkeep.kind == "open_held" else _MAKE_READY
    statement.run(tx, first=first, last=last)
    if last < upkeep.last_job_id:
        _ADVANCE_UPKEEP.run(tx, upkeep_id=upkeep.upkeep_id, next_job_id=last + 1)
    else:
        _DELETE_UPKEEP.run(tx, upkeep_id=upkeep.upkeep_id)
    return [(row[0], row[1]) for row in _READ_CLASSES_AND_SUBJECTS.run(tx, first=first, last=last)]
