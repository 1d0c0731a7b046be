"""What placement reads of the queue: the next ready jobs of a class, from one index."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import select, union_all

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

job = t.job


class ReadyJob(NamedTuple):
    """A ready job, in the order of its class."""

    job_id: int
    class_id: int
    priority: int
    subject: str | None
    overlap: int
    deadline_order: int = 0


_NEXT = Statement(
    select(
        job.c.job_id,
        job.c.ready_class,
        job.c.priority,
        job.c.subject,
        job.c.overlap,
        job.c.deadline_order,
    )
    .where(job.c.ready_class == param("of"), job.c.ready_class.is_not(None))
    .order_by(job.c.priority.desc(), job.c.deadline_order, job.c.job_id)
    .limit(param("most"))
)


def read_next(tx: Transaction, class_id: int, most: int) -> list[ReadyJob]:
    """The first ready jobs of a class by priority, deadline, then age."""
    return [ReadyJob(*row) for row in _NEXT.run(tx, of=class_id, most=most)]


# Far enough for a person; the rest of a long queue is not counted for a sentence.
_MOST_COUNTED: Final = 10_000
_PLACE = Statement(
    select(job.c.priority, job.c.deadline_order).where(job.c.job_id == param("which"))
)
_READY = (job.c.ready_class == param("of"), job.c.ready_class.is_not(None))
_EQUAL = (*_READY, job.c.priority == param("priority"))
# One range of the index each: an OR of them would read all of the class behind it as well.
_AHEAD = Statement(
    union_all(
        select(job.c.job_id).where(*_READY, job.c.priority > param("priority")),
        select(job.c.job_id).where(*_EQUAL, job.c.deadline_order < param("deadline")),
        select(job.c.job_id).where(
            *_EQUAL, job.c.deadline_order == param("deadline"), job.c.job_id < param("which")
        ),
    ).limit(_MOST_COUNTED)
)


def count_ahead(tx: Transaction, class_id: int, job_id: int) -> int:
    """How many ready jobs of its class come before this one, up to 10,000."""
    [(priority, deadline)] = _PLACE.run(tx, which=job_id)
    return len(_AHEAD.run(tx, of=class_id, priority=priority, deadline=deadline, which=job_id))
