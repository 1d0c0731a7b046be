"""What placement reads of the queue: the next ready jobs of a class, from one index."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import and_, or_, select

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, given

job = t.job


class Candidate(NamedTuple):
    """A ready job, in the order of its class."""

    job_id: int
    class_id: int
    priority: int
    subject: str | None
    overlap: int


_NEXT = Statement(
    select(job.c.job_id, job.c.ready_class, job.c.priority, job.c.subject, job.c.overlap)
    .where(job.c.ready_class == given("of"), job.c.ready_class.is_not(None))
    .order_by(job.c.priority.desc(), job.c.job_id)
    .limit(given("most"))
)


def next_of_class(tx: Transaction, class_id: int, most: int) -> list[Candidate]:
    """The first ready jobs of a class by priority, then age."""
    return [Candidate(*row) for row in _NEXT.run(tx, of=class_id, most=most)]


# Far enough for a person; the rest of a long queue is not counted for a sentence.
_MOST_COUNTED: Final = 10_000
_PLACE = Statement(select(job.c.priority).where(job.c.job_id == given("which")))
_AHEAD = Statement(
    select(job.c.job_id)
    .where(
        job.c.ready_class == given("of"),
        job.c.ready_class.is_not(None),
        or_(
            job.c.priority > given("priority"),
            and_(job.c.priority == given("same"), job.c.job_id < given("which")),
        ),
    )
    .limit(_MOST_COUNTED)
)


def ahead(tx: Transaction, class_id: int, job_id: int) -> int:
    """How many ready jobs of its class come before this one, up to 10,000."""
    [(priority,)] = _PLACE.run(tx, which=job_id)
    return len(_AHEAD.run(tx, of=class_id, priority=priority, same=priority, which=job_id))
