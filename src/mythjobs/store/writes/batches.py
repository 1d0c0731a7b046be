"""Batches: their rows come in invisibly, are opened at once, and made ready in slices."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, case, delete, func, insert, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, literal, param
from mythjobs.store.transaction import Transaction

batch, job, upkeep = t.batch, t.job, t.upkeep

# The hold of a job whose batch is not open yet; a person's hold is 1.
HOLD_UNOPENED = 2


class Upkeep(NamedTuple):
    upkeep_id: int
    kind: str
    next_job_id: int
    last_job_id: int


_NEXT = Statement(select(func.coalesce(func.max(batch.c.batch_id), 0) + 1))
_BEGIN = Statement(
    insert(batch),
    (
        "batch_id",
        "command_id",
        "first_job_id",
        "jobs",
        "submitted_ms",
        "opened_ms",
        "succeeded",
        "failed",
        "cancelled",
    ),
)
_OPEN = Statement(
    update(batch).where(batch.c.batch_id == param("which")).values(opened_ms=param("at"))
)
_UNOPENED = Statement(
    select(batch.c.batch_id, batch.c.first_job_id, batch.c.jobs, batch.c.command_id).where(
        batch.c.opened_ms.is_(None)
    )
)
_OPENED = Statement(select(batch.c.opened_ms).where(batch.c.batch_id == param("which")))
_COUNT = Statement(
    select(func.count())
    .select_from(job)
    .where(job.c.job_id >= param("first"), job.c.job_id <= param("last"))
)
_DROP_JOBS = Statement(
    delete(job).where(job.c.job_id >= param("first"), job.c.job_id <= param("last"))
)
_DROP = Statement(delete(batch).where(batch.c.batch_id == param("which")))
_NEXT_UPKEEP = Statement(select(func.coalesce(func.max(upkeep.c.upkeep_id), 0) + 1))
_ADD_UPKEEP = Statement(insert(upkeep), ("upkeep_id", "kind", "next_job_id", "last_job_id"))
_FIRST_UPKEEP = Statement(
    select(upkeep.c.upkeep_id, upkeep.c.kind, upkeep.c.next_job_id, upkeep.c.last_job_id)
    .order_by(upkeep.c.upkeep_id)
    .limit(1)
)
_MOVE_UPKEEP = Statement(
    update(upkeep).where(upkeep.c.upkeep_id == param("which")).values(next_job_id=param("next"))
)
_END_UPKEEP = Statement(delete(upkeep).where(upkeep.c.upkeep_id == param("which")))
_MAKE_READY = Statement(
    update(job)
    .where(
        job.c.job_id >= param("first"),
        job.c.job_id <= param("last"),
        job.c.hold == HOLD_UNOPENED,
        job.c.state == literal(JobState.QUEUED),
    )
    .values(
        hold=0,
        ready_class=case(
            (and_(job.c.subject.is_(None), job.c.not_before_ms.is_(None)), job.c.class_id),
            else_=None,
        ),
    )
)
_MAKE_HELD = Statement(
    update(job)
    .where(
        job.c.job_id >= param("first"),
        job.c.job_id <= param("last"),
        job.c.hold == HOLD_UNOPENED,
        job.c.state == literal(JobState.QUEUED),
    )
    .values(hold=1)
)
_ABOUT = Statement(
    select(job.c.class_id, job.c.subject)
    .where(job.c.job_id >= param("first"), job.c.job_id <= param("last"))
    .distinct()
)


def begin_batch(
    tx: Transaction, *, command_id: int, first: int, jobs: int, at_ms: int, opened_ms: int | None
) -> int:
    batch_id = int(_NEXT.run(tx)[0][0])
    _BEGIN.run(
        tx,
        batch_id=batch_id,
        command_id=command_id,
        first_job_id=first,
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
    """The fact, and the work it makes: the jobs become ready (or held) slice by slice."""
    _OPEN.run(tx, which=batch_id, at=at_ms)
    _ADD_UPKEEP.run(
        tx,
        upkeep_id=int(_NEXT_UPKEEP.run(tx)[0][0]),
        kind="open_held" if held else "open",
        next_job_id=first,
        last_job_id=last,
    )


def is_open(tx: Transaction, batch_id: int) -> bool:
    """Whether all of its jobs are there, so that they can be seen and acted on."""
    rows = _OPENED.run(tx, which=batch_id)
    return bool(rows) and rows[0][0] is not None


def drop_unopened(tx: Transaction, only: int | None = None) -> int:
    """Takes away what came in of batches that are not whole (of one, or at a start of all).

    Answers how many jobs that were.
    """
    dropped = 0
    for batch_id, first, jobs, command_id in _UNOPENED.run(tx):
        if only not in (None, batch_id):
            continue
        last = first + jobs - 1
        count = int(_COUNT.run(tx, first=first, last=last)[0][0])
        _DROP_JOBS.run(tx, first=first, last=last)
        _DROP.run(tx, which=batch_id)
        tx.job_count_changes[command_id, "queued"] -= count
        dropped += count
    return dropped


def find_next_upkeep(tx: Transaction) -> Upkeep | None:
    rows = _FIRST_UPKEEP.run(tx)
    return Upkeep(*rows[0]) if rows else None


def run_upkeep_slice(tx: Transaction, work: Upkeep, most: int) -> list[tuple[int, str | None]]:
    """Does the next slice of one piece; answers (class, subject) of the jobs in it."""
    first, last = work.next_job_id, min(work.next_job_id + most - 1, work.last_job_id)
    statement = _MAKE_HELD if work.kind == "open_held" else _MAKE_READY
    statement.run(tx, first=first, last=last)
    if last < work.last_job_id:
        _MOVE_UPKEEP.run(tx, which=work.upkeep_id, next=last + 1)
    else:
        _END_UPKEEP.run(tx, which=work.upkeep_id)
    return [(row[0], row[1]) for row in _ABOUT.run(tx, first=first, last=last)]
