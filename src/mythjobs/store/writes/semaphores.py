"""Semaphores and their sizes. Units in use are not stored: they follow from live attempts."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

semaphore = t.semaphore

_READ_ALL = Statement(select(semaphore.c.name, semaphore.c.size).order_by(semaphore.c.name))
_READ_FREE_WHEN_FROZEN = Statement(
    select(semaphore.c.name).where(semaphore.c.free_when_frozen == 1)
)
_INSERT = Statement(insert(semaphore), semaphore.c.keys())
_DELETE = Statement(delete(semaphore).where(semaphore.c.name == param("name")))


def read_all(tx: Transaction) -> dict[str, int]:
    return {row[0]: row[1] for row in _READ_ALL.run(tx)}


def read_free_when_frozen(tx: Transaction) -> frozenset[str]:
    """Return the names of the semaphores whose units a job releases while it is frozen."""
    return frozenset(row[0] for row in _READ_FREE_WHEN_FROZEN.run(tx))


def save(tx: Transaction, name: str, size: int, *, free_when_frozen: bool = False) -> None:
    remove(tx, name)
    _INSERT.run(tx, name=name, size=size, free_when_frozen=int(free_when_frozen))


def remove(tx: Transaction, name: str) -> None:
    _DELETE.run(tx, name=name)
