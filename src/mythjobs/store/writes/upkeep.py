"""Upkeep: pending work on many rows, recorded by one turn and done in slices by later turns."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, update

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

upkeep = t.upkeep


class UpkeepKind(StrEnum):
    OPEN = "open"  # make the jobs of an opened batch ready
    OPEN_HELD = "open_held"  # hold the jobs of an opened batch
    DROP = "drop"  # delete a batch that was never opened, with its jobs
    RESOLVE = "resolve"  # resolve the dependencies on an ended job, `last_job_id`


class Upkeep(NamedTuple):
    """Row of pending work on the jobs from `next_job_id` to `last_job_id`."""

    upkeep_id: int
    kind: str
    next_job_id: int
    last_job_id: int


_FIND_NEXT_ID = Statement(select(func.coalesce(func.max(upkeep.c.upkeep_id), 0) + 1))
_INSERT = Statement(insert(upkeep), Upkeep._fields)
_FIND = Statement(
    select(*(upkeep.c[name] for name in Upkeep._fields))
    .order_by(upkeep.c.upkeep_id)
    .limit(param("limit"))
)
_READ_ALL = Statement(
    select(*(upkeep.c[name] for name in Upkeep._fields)).order_by(upkeep.c.upkeep_id)
)
_ADVANCE = Statement(
    update(upkeep)
    .where(upkeep.c.upkeep_id == param("upkeep_id"))
    .values(next_job_id=param("next_job_id"))
)
_DELETE = Statement(delete(upkeep).where(upkeep.c.upkeep_id == param("upkeep_id")))


def add(tx: Transaction, kind: UpkeepKind, first_job_id: int, last_job_id: int) -> None:
    upkeep_id = int(_FIND_NEXT_ID.run(tx)[0][0])
    _INSERT.run(
        tx,
        upkeep_id=upkeep_id,
        kind=kind.value,
        next_job_id=first_job_id,
        last_job_id=last_job_id,
    )


def find_next(tx: Transaction, skipped: Collection[int] = ()) -> Upkeep | None:
    """Return the oldest pending work that is not in `skipped` (upkeep ids)."""
    rows = [Upkeep(*row) for row in _FIND.run(tx, limit=1 + len(skipped))]
    return next((each for each in rows if each.upkeep_id not in skipped), None)


def read_all(tx: Transaction) -> list[Upkeep]:
    return [Upkeep(*row) for row in _READ_ALL.run(tx)]


def advance(tx: Transaction, work: Upkeep, next_job_id: int) -> None:
    """Record that upkeep has processed the jobs before `next_job_id`; delete finished work."""
    if next_job_id <= work.last_job_id:
        _ADVANCE.run(tx, upkeep_id=work.upkeep_id, next_job_id=next_job_id)
    else:
        remove(tx, work)


def remove(tx: Transaction, work: Upkeep) -> None:
    _DELETE.run(tx, upkeep_id=work.upkeep_id)
