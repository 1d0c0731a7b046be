"""Named semaphores and their sizes. How much of one is taken follows from the live attempts."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

semaphore = t.semaphore

_ALL = Statement(select(semaphore.c.name, semaphore.c.size).order_by(semaphore.c.name))
_FREED = Statement(select(semaphore.c.name).where(semaphore.c.free_when_frozen == 1))
_ADD = Statement(insert(semaphore), ("name", "size", "free_when_frozen"))
_REMOVE = Statement(delete(semaphore).where(semaphore.c.name == param("called")))


def read_all(tx: Transaction) -> dict[str, int]:
    return {row[0]: row[1] for row in _ALL.run(tx)}


def read_free_when_frozen(tx: Transaction) -> frozenset[str]:
    """Those whose units a frozen job gives back."""
    return frozenset(row[0] for row in _FREED.run(tx))


def save(tx: Transaction, name: str, size: int, *, free_when_frozen: bool = False) -> None:
    remove(tx, name)
    _ADD.run(tx, name=name, size=size, free_when_frozen=int(free_when_frozen))


def remove(tx: Transaction, name: str) -> None:
    _REMOVE.run(tx, called=name)
