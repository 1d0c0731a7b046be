"""What one job of a command uses on a machine: learned by the machines, kept for all of them."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

usage = t.command_usage
_READ = Statement(
    select(t.command.c.name, usage.c.machine_id, usage.c.footprint).where(
        t.command.c.command_id == usage.c.command_id
    )
)
_FIND = Statement(
    select(usage.c.footprint)
    .where(t.command.c.name == param("name"), usage.c.command_id == t.command.c.command_id)
    .order_by(usage.c.command_id, usage.c.machine_id)
    .limit(1)
)
_DELETE = Statement(
    delete(usage).where(
        usage.c.command_id == param("command_id"), usage.c.machine_id == param("machine_id")
    )
)
_INSERT = Statement(insert(usage), usage.c.keys())


def read_for_machine(tx: Transaction, machine_id: int) -> dict[str, str]:
    """Return the footprint of each command, as JSON: as learned on the machine, else on another."""
    found: dict[str, str] = {}
    for name, learned_on, footprint in sorted(_READ.run(tx)):
        if learned_on == machine_id or name not in found:
            found[name] = footprint
    return found


def find_by_command(tx: Transaction, name: str) -> str | None:
    """Return the footprint of a command on some machine, as JSON; None if none has learned it."""
    rows = _FIND.run(tx, name=name)
    return str(rows[0][0]) if rows else None


def record(tx: Transaction, command_id: int, machine_id: int, footprint: str) -> None:
    _DELETE.run(tx, command_id=command_id, machine_id=machine_id)
    _INSERT.run(tx, command_id=command_id, machine_id=machine_id, footprint=footprint)
