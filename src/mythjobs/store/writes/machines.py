"""Machines: who they are by key, what their owners allow, and what commands take there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import func, insert, select, update

from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

machine, footprint, attempt, job = t.machine, t.footprint, t.attempt, t.job

RIGHTS_NONE: Final = json.dumps({"mode": "listed", "commands": []})
RIGHTS_ALL: Final = json.dumps({"mode": "all", "commands": []})


class MachineRow(NamedTuple):
    machine_id: int
    name: str
    key: str
    rights: str
    jobs: int | None
    cores: int
    boot_id: str
    settings: str = "{}"
    zone: str = ""


class LiveAttemptRow(NamedTuple):
    """A live attempt, as the store has it."""

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


_ALL = Statement(
    select(
        machine.c.machine_id,
        machine.c.name,
        machine.c.key,
        machine.c.rights,
        machine.c.jobs,
        machine.c.cores,
        machine.c.boot_id,
        machine.c.settings,
        machine.c.zone,
    ).order_by(machine.c.machine_id)
)
_NEXT = Statement(select(func.coalesce(func.max(machine.c.machine_id), 0) + 1))
_ADD = Statement(
    insert(machine),
    (
        "machine_id",
        "name",
        "key",
        "rights",
        "jobs",
        "cores",
        "boot_id",
        "settings",
        "zone",
        "enrolled_ms",
        "attached_ms",
    ),
)
_ATTACH = Statement(
    update(machine)
    .where(machine.c.machine_id == param("which"))
    .values(
        boot_id=param("boot"), cores=param("count"), zone=param("where"), attached_ms=param("at")
    )
)
_SET = Statement(
    update(machine)
    .where(machine.c.machine_id == param("which"))
    .values(rights=param("may"), jobs=param("most"))
)
_SETTINGS = Statement(
    update(machine)
    .where(machine.c.machine_id == param("which"))
    .values(settings=param("said"), zone=param("where"))
)
_LIVE = Statement(
    select(
        attempt.c.job_id,
        attempt.c.n,
        attempt.c.machine_id,
        attempt.c.boot_id,
        attempt.c.started_ms,
        job.c.class_id,
        job.c.command_id,
        job.c.batch_id,
        job.c.priority,
        job.c.subject,
        job.c.overlap,
        job.c.stop_requested,
        job.c.losses,
        job.c.failures,
        attempt.c.silence,
        attempt.c.lease_s,
        attempt.c.leased_ms,
    ).where(attempt.c.over_ms.is_(None), job.c.job_id == attempt.c.job_id)
)
_FOOTPRINTS = Statement(
    select(footprint.c.command_id, footprint.c.machine_id, footprint.c.runs, footprint.c.wall_us)
)
_LEARN = Statement(
    update(footprint)
    .where(footprint.c.command_id == param("command"), footprint.c.machine_id == param("on"))
    .values(runs=param("count"), wall_us=param("typical"))
)
_FIRST = Statement(insert(footprint), ("command_id", "machine_id", "runs", "wall_us"))


def read_all(tx: Transaction) -> list[MachineRow]:
    return [MachineRow(*row) for row in _ALL.run(tx)]


def enrol(
    tx: Transaction, *, name: str, key: str, rights: str, cores: int, boot_id: str, at_ms: int
) -> MachineRow:
    """A machine is its key; a name that another has gets a number behind it."""
    taken = {each.name for each in read_all(tx)}
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    row = MachineRow(int(_NEXT.run(tx)[0][0]), free, key, rights, None, cores, boot_id)
    _ADD.run(tx, **row._asdict(), enrolled_ms=at_ms, attached_ms=at_ms)
    return row


def attach(
    tx: Transaction, machine_id: int, *, boot_id: str, cores: int, zone: str, at_ms: int
) -> None:
    """What a machine says of itself when it comes."""
    _ATTACH.run(tx, which=machine_id, boot=boot_id, count=cores, where=zone, at=at_ms)


def set_policy(tx: Transaction, machine_id: int, *, rights: str, jobs: int | None) -> None:
    _SET.run(tx, which=machine_id, may=rights, most=jobs)


def set_settings(tx: Transaction, machine_id: int, *, settings: str, zone: str) -> None:
    """The owner's settings as JSON, and the zone that its windows are read in."""
    _SETTINGS.run(tx, which=machine_id, said=settings, where=zone)


def read_live_attempts(tx: Transaction) -> list[LiveAttemptRow]:
    """Every live attempt: a few hundred a machine at most, however long the queue."""
    return [LiveAttemptRow(*row) for row in _LIVE.run(tx)]


def read_footprints(tx: Transaction) -> dict[tuple[int, int], tuple[int, int]]:
    """(command, machine) → runs and typical µs."""
    return {(row[0], row[1]): (row[2], row[3]) for row in _FOOTPRINTS.run(tx)}


def record_footprints(tx: Transaction, rows: Iterable[tuple[int, int, int, int]]) -> None:
    """Rows of (command, machine, runs, typical µs); the first run of a pair makes its row."""
    for command_id, machine_id, runs, wall_us in rows:
        values = {"count": runs, "typical": wall_us}
        if not _LEARN.run_many(tx, [{"command": command_id, "on": machine_id, **values}]):
            _FIRST.run(tx, command_id=command_id, machine_id=machine_id, runs=runs, wall_us=wall_us)
