"""Job events: history that job and attempt rows do not show. Rows are only inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import insert

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction


class Event(NamedTuple):
    job_id: int
    n: int
    at_ms: int
    kind: str
    detail: str


_INSERT = Statement(insert(t.event), Event._fields)


def add(tx: Transaction, events: Sequence[Event]) -> None:
    _INSERT.run_many(tx, [each._asdict() for each in events])
