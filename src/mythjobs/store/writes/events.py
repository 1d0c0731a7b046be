"""The history that job and attempt rows do not tell by themselves; rows are only added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import insert

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

_ADD = Statement(insert(t.event), ("job_id", "n", "at_ms", "kind", "detail"))


class Event(NamedTuple):
    job_id: int
    n: int
    at_ms: int
    kind: str
    detail: str


def add(tx: Transaction, events: Sequence[Event]) -> None:
    _ADD.run_many(tx, [each._asdict() for each in events])
