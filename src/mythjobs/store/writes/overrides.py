"""One-off overrides of run windows: "open until", "closed until"."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import delete, insert, select

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

override = t.window_override

EVERY_COMMAND: Final = 0


class OverrideRow(NamedTuple):
    """`kind` is "allow" or "pause"; `command_id` 0 means every command of the machine."""

    machine_id: int
    command_id: int
    kind: str
    until_ms: int


_ALL = Statement(
    select(
        override.c.machine_id, override.c.command_id, override.c.kind, override.c.until_ms
    ).order_by(override.c.machine_id, override.c.command_id)
)
_ADD = Statement(insert(override), OverrideRow._fields)
_REMOVE = Statement(
    delete(override).where(
        override.c.machine_id == param("machine"), override.c.command_id == param("command")
    )
)
_EXPIRE = Statement(delete(override).where(override.c.until_ms <= param("at")))


def read_all(tx: Transaction) -> list[OverrideRow]:
    return [OverrideRow(*row) for row in _ALL.run(tx)]


def save(tx: Transaction, new: OverrideRow) -> None:
    """A machine and command have at most one; the newest word holds."""
    remove(tx, new.machine_id, new.command_id)
    _ADD.run(tx, **new._asdict())


def remove(tx: Transaction, machine_id: int, command_id: int) -> None:
    _REMOVE.run(tx, machine=machine_id, command=command_id)


def remove_expired(tx: Transaction, at_ms: int) -> None:
    """Takes away those whose time is over."""
    _EXPIRE.run(tx, at=at_ms)
