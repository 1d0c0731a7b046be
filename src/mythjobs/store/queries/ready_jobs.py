"""Queries for the ready jobs of a job class in placement order.

They read a range of one index, so their cost does not depend on the length of the queue.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, union_all

from mythjobs.scheduler.order import ReadyJob
from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job = t.job

_IS_READY = (job.c.ready_class == param("class_id"), job.c.ready_class.is_not(None))
_READ_NEXT = Statement(
    select(
        job.c.job_id,
        job.c.ready_class,
        job.c.priority,
        job.c.subject,
        job.c.overlap,
        job.c.deadline_order,
    )
    .where(*_IS_READY)
    .order_by(job.c.priority.desc(), job.c.deadline_order, job.c.job_id)
    .limit(param("limit"))
)


def read_next(tx: Transaction, class_id: int, limit: int) -> list[ReadyJob]:
    """Return the first ready jobs of a job class, ordered by priority, deadline, then age."""
    return [ReadyJob(*row) for row in _READ_NEXT.run(tx, class_id=class_id, limit=limit)]


# Maximum number of jobs ahead of a job that are counted: enough for a message to a user.
_MAX_COUNTED: Final = 10_000
_READ_POSITION = Statement(
    select(job.c.priority, job.c.deadline_order).where(job.c.job_id == param("job_id"))
)
_SAME_PRIORITY = (*_IS_READY, job.c.priority == param("priority"))
# One SELECT per index range, because for a single SELECT with OR the database reads all ready jobs
# of the class.
_FIND_AHEAD = Statement(
    union_all(
        select(job.c.job_id).where(*_IS_READY, job.c.priority > param("priority")),
        select(job.c.job_id).where(*_SAME_PRIORITY, job.c.deadline_order < param("deadline")),
        select(job.c.job_id).where(
            *_SAME_PRIORITY,
            job.c.deadline_order == param("deadline"),
            job.c.job_id < param("job_id"),
        ),
    ).limit(_MAX_COUNTED)
)


def count_ahead(tx: Transaction, class_id: int, job_id: int) -> int:
    """Return the number of ready jobs of class `class_id` that placement tries before a job.

    At most 10,000 jobs are counted.
    """
    [(priority, deadline)] = _READ_POSITION.run(tx, job_id=job_id)
    rows = _FIND_AHEAD.run(
        tx, class_id=class_id, priority=priority, deadline=deadline, job_id=job_id
    )
    return len(rows)
