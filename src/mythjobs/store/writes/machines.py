"""Machines: identity, policy, live attempts, and usual run times of commands on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from mythjobs.model.machine_control import MachineControl
from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

machine, footprint, attempt, job = t.machine, t.footprint, t.attempt, t.job


class MachineRow(NamedTuple):
    """Row of a machine. `rights` and `settings` are JSON; `jobs` None means one per core.

    revoked_ms: when its key was revoked; None: it may connect. description: what it can do, as
    JSON; "" while unknown. pause_until_ms: when its pause ends; None: when a user resumes it.
    """

    machine_id: int
    name: str
    key: str
    rights: str
    jobs: int | None
    cores: int
    boot_id: str
    settings: str = "{}"
    zone: str = ""
    revoked_ms: int | None = None
    description: str = ""
    drained: int = 0
    paused: int = 0
    pause_until_ms: int | None = None


class LiveAttemptRow(NamedTuple):
    """A live attempt with the columns of its job that the master needs."""

    job_id: int
    n: int
    machine_id: int
    boot_id: str
    started_ms: int | None
    class_id: int
    command_id: int
    batch_id: int | None
    priority: int
    subject: str | None
    overlap: int
    stop_requested: str | None
    losses: int
    failures: int
    silence: str
    lease_s: float | None
    leased_ms: int
    paused: int


_READ_ALL = Statement(
    select(*(machine.c[name] for name in MachineRow._fields)).order_by(machine.c.machine_id)
)
_FIND_NEXT_ID = Statement(select(func.coalesce(func.max(machine.c.machine_id), 0) + 1))
_INSERT = Statement(insert(machine), (*MachineRow._fields, "enrolled_ms", "attached_ms"))
_SET_ATTACHED = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(
        boot_id=param("boot_id"),
        cores=param("cores"),
        zone=param("zone"),
        attached_ms=param("at_ms"),
    )
)
_SET_POLICY = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(rights=param("rights"), jobs=param("jobs"))
)
_SET_SETTINGS = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(settings=param("settings"), zone=param("zone"))
)
_SET_DESCRIPTION = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(description=param("new_description"))
)
_RENAME = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(name=param("new_name"))
)
_SET_REVOKED = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(name=param("new_name"), rights=param("rights"), revoked_ms=param("at_ms"))
)
_SET_CONTROL = Statement(
    update(machine)
    .where(machine.c.machine_id == param("machine_id"))
    .values(
        drained=param("drained"), paused=param("paused"), pause_until_ms=param("pause_until_ms")
    )
)
_JOB_COLUMNS = (
    "class_id",
    "command_id",
    "batch_id",
    "priority",
    "subject",
    "overlap",
    "stop_requested",
    "losses",
    "failures",
)
_READ_LIVE_ATTEMPTS = Statement(
    select(
        *((job if name in _JOB_COLUMNS else attempt).c[name] for name in LiveAttemptRow._fields)
    ).where(attempt.c.over_ms.is_(None), job.c.job_id == attempt.c.job_id)
)
_READ_FOOTPRINTS = Statement(
    select(footprint.c.command_id, footprint.c.machine_id, footprint.c.runs, footprint.c.wall_us)
)
_UPDATE_FOOTPRINT = Statement(
    update(footprint)
    .where(
        footprint.c.command_id == param("command_id"), footprint.c.machine_id == param("machine_id")
    )
    .values(runs=param("runs"), wall_us=param("wall_us"))
)
_INSERT_FOOTPRINT = Statement(insert(footprint), footprint.c.keys())


def read_all(tx: Transaction) -> list[MachineRow]:
    return [MachineRow(*row) for row in _READ_ALL.run(tx)]


def enrol(
    tx: Transaction, *, name: str, key: str, rights: str, cores: int, boot_id: str, at_ms: int
) -> MachineRow:
    """Insert a machine, identified by its key. A name in use gets a number as suffix."""
    taken = {each.name for each in read_all(tx)}
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    row = MachineRow(int(_FIND_NEXT_ID.run(tx)[0][0]), unique, key, rights, None, cores, boot_id)
    _INSERT.run(tx, **row._asdict(), enrolled_ms=at_ms, attached_ms=at_ms)
    return row


def attach(
    tx: Transaction, machine_id: int, *, boot_id: str, cores: int, zone: str, at_ms: int
) -> None:
    """Store the boot id, cores and time zone that a machine reports when it connects."""
    _SET_ATTACHED.run(
        tx, machine_id=machine_id, boot_id=boot_id, cores=cores, zone=zone, at_ms=at_ms
    )


def set_description(tx: Transaction, machine_id: int, description: str) -> None:
    """Store what a machine can do, as JSON."""
    _SET_DESCRIPTION.run(tx, machine_id=machine_id, new_description=description)


def rename(tx: Transaction, machine_id: int, name: str) -> None:
    _RENAME.run(tx, machine_id=machine_id, new_name=name)


def revoke(tx: Transaction, machine_id: int, *, name: str, rights: str, at_ms: int) -> None:
    """Revoke a machine's key, and give it a name that no other machine will want."""
    _SET_REVOKED.run(tx, machine_id=machine_id, new_name=name, rights=rights, at_ms=at_ms)


def set_policy(tx: Transaction, machine_id: int, *, rights: str, jobs: int | None) -> None:
    _SET_POLICY.run(tx, machine_id=machine_id, rights=rights, jobs=jobs)


def set_settings(tx: Transaction, machine_id: int, *, settings: str, zone: str) -> None:
    """Store the machine's settings as JSON, and the time zone of its run windows."""
    _SET_SETTINGS.run(tx, machine_id=machine_id, settings=settings, zone=zone)


def set_control(tx: Transaction, machine_id: int, control: MachineControl) -> None:
    """Store whether a machine is drained or paused."""
    _SET_CONTROL.run(
        tx,
        machine_id=machine_id,
        drained=int(control.is_drained),
        paused=int(control.is_paused),
        pause_until_ms=control.until_ms,
    )


def read_live_attempts(tx: Transaction) -> list[LiveAttemptRow]:
    """Return all live attempts: a few hundred per machine at most, however long the queue is."""
    return [LiveAttemptRow(*row) for row in _READ_LIVE_ATTEMPTS.run(tx)]


def read_footprints(tx: Transaction) -> dict[tuple[int, int], tuple[int, int]]:
    """Return (number of runs, usual run time in µs) by (command id, machine id)."""
    return {(row[0], row[1]): (row[2], row[3]) for row in _READ_FOOTPRINTS.run(tx)}


def record_footprints(tx: Transaction, rows: Iterable[tuple[int, int, int, int]]) -> None:
    """Store rows of (command id, machine id, number of runs, usual run time in µs)."""
    for row in rows:
        values = dict(zip(("command_id", "machine_id", "runs", "wall_us"), row, strict=True))
        if not _UPDATE_FOOTPRINT.run_many(tx, [values]):
            _INSERT_FOOTPRINT.run(tx, **values)
