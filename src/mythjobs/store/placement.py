"""What placement reads of the queue: the next ready jobs of a class, from one index."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

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
