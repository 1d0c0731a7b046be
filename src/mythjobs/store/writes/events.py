"""Job events: the part of a job's history that job and attempt rows do not show.

Rows are only inserted, never updated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import insert, select

from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction


class Event(NamedTuple):
    job_id: int
    n: int
    at_ms: int
    kind: str
    detail: str


_INSERT = Statement(insert(t.event), Event._fields)
_FIND = Statement(
    select(t.event.c.job_id, t.event.c.n)
    .where(in_list(t.event.c.job_id, "job_ids"), t.event.c.kind == param("kind"))
    .distinct()
)


def add(tx: Transaction, events: Sequence[Event]) -> None:
    _INSERT.run_many(tx, [each._asdict() for each in events])


def find_attempts(tx: Transaction, kind: str, job_ids: Sequence[int]) -> set[tuple[int, int]]:
    """Return (job id, attempt number) of these jobs' attempts that have an event of this kind."""
    rows = _FIND.run(tx, kind=kind, job_ids=list(job_ids)) if job_ids else []
    return {(row[0], row[1]) for row in rows}
