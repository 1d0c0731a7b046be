"""Overrides of machines' run windows, which open or close the windows until a time."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import delete, insert, select

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

override = t.window_override

EVERY_COMMAND: Final = 0


class OverrideRow(NamedTuple):
    """Row of an override: `kind` "allow" opens the windows, "pause" closes them.

    command_id: 0 means every command.
    """

    machine_id: int
    command_id: int
    kind: str
    until_ms: int


_READ_ALL = Statement(
    select(*(override.c[name] for name in OverrideRow._fields)).order_by(
        override.c.machine_id, override.c.command_id
    )
)
_INSERT = Statement(insert(override), OverrideRow._fields)
_DELETE = Statement(
    delete(override).where(
        override.c.machine_id == param("machine_id"), override.c.command_id == param("command_id")
    )
)
_DELETE_EXPIRED = Statement(delete(override).where(override.c.until_ms <= param("at_ms")))


def read_all(tx: Transaction) -> list[OverrideRow]:
    return [OverrideRow(*row) for row in _READ_ALL.run(tx)]


def save(tx: Transaction, row: OverrideRow) -> None:
    """Store an override, which replaces an earlier one for the same machine and command."""
    remove(tx, row.machine_id, row.command_id)
    _INSERT.run(tx, **row._asdict())


def remove(tx: Transaction, machine_id: int, command_id: int) -> None:
    _DELETE.run(tx, machine_id=machine_id, command_id=command_id)


def remove_expired(tx: Transaction, at_ms: int) -> None:
    _DELETE_EXPIRED.run(tx, at_ms=at_ms)
