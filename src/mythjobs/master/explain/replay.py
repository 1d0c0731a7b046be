"""`what-if`: the last week's jobs against changed settings, beside the same under those of now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import DefinitionError, no_such_command
from mythjobs.master.catalog import class_limits, class_requirements, decode_command
from mythjobs.master.explain.machine import settings_of
from mythjobs.master.state import MasterState
from mythjobs.model import toml_values as r
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.machine_policy import (
    MachinePolicy,
    combined_hours,
    combined_limits,
    policy_from_table,
)
from mythjobs.model.policy_tables import read_semaphores
from mythjobs.model.zone import DAY_MS, load_zone
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.replay import PastJob, ReplayedJob, Scenario, replay
from mythjobs.store.queries.history import EndedJob, read_ended_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands

_LOOK_BACK_MS: Final = 7 * DAY_MS
_MOST_ROWS: Final = 1000
_KEYS: Final = ("machines", "commands", "semaphores")


@dataclass(frozen=True, slots=True)
class SettingsChanges:
    """Settings to try: of machines and of commands by name, and sizes of semaphores."""

    machines: Mapping[str, MachinePolicy]
    commands: Mapping[str, Command]
    semaphore_sizes: Mapping[str, int]


def what_if(tx: Transaction, memory: MasterState, table: r.Table, now: Now) -> dict[str, Any]:
    """Both replays summed up by command, and the jobs whose times differ.

    `table` is the file: [machines.NAME] and [commands.NAME] with the keys to change, and
    semaphores. Raises DefinitionError, NoSuchMachine, NoSuchCommand.
    """
    changes = read_changes(tx, memory, table)
    rows = read_ended_jobs(tx, now.wall_ms - _LOOK_BACK_MS)
    jobs = [
        PastJob(
            each.job_id,
            each.submitted_ms,
            each.class_id,
            each.priority,
            max(each.over_ms - each.started_ms, 1) / 1000,
            each.deadline_ms,
        )
        for each in rows
    ]
    classes = {each.class_id for each in rows}
    nothing = SettingsChanges({}, {}, {})
    before = replay(_world(tx, memory, classes, nothing), jobs)
    after_world = _world(tx, memory, classes, changes)
    after = replay(after_world, jobs)
    names = {class_id: ask.command for class_id, ask in after_world.requirements.items()}
    return {
        "since_ms": now.wall_ms - _LOOK_BACK_MS,
        "jobs": len(rows),
        "commands": _sums(rows, names, before, after),
        "changed": _changed(rows, names, before, after),
    }


def read_changes(tx: Transaction, memory: MasterState, table: r.Table) -> SettingsChanges:
    for key in table:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    owners = {}
    for name, given in _tables(table, "machines"):
        machine = memory.find_machine(name)
        with _under(f"machines.{name}"):
            owners[name] = policy_from_table({**settings_of(machine), **given})
    changed = {}
    for name, given in _tables(table, "commands"):
        defined = commands.find_by_name(tx, name)
        if defined is None:
            raise no_such_command(name)
        with _under(f"commands.{name}"):
            changed[name] = command_from_table(
                {**json.loads(defined.definition), **given, "name": name}
            )
    sizes = dict(read_semaphores(table.get("semaphores", {}), least=0))
    return SettingsChanges(owners, changed, sizes)


@contextmanager
def _under(key: str) -> Iterator[None]:
    """What is wrong is told with its whole key in the file."""
    try:
        yield
    except DefinitionError as error:
        raise DefinitionError("", f"{key}.{error.sentence}") from None


def _tables(table: r.Table, key: str) -> Iterable[tuple[str, dict[str, object]]]:
    value = table.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise DefinitionError(key, f"are tables, each headed [{key}.NAME]")
    return value.items()


def _world(
    tx: Transaction, memory: MasterState, classes: set[int], changes: SettingsChanges
) -> Scenario:
    asks: dict[int, e.Requirements] = {}
    sites: dict[tuple[int, int], e.EffectiveSettings] = {}
    machines = {}
    for machine_id, machine in memory.machines.items():
        facts = machine.facts()
        owner = changes.machines.get(machine.name)
        if owner is not None:
            jobs = machine.cores if owner.jobs is None else owner.jobs
            facts = facts._replace(policy=owner, rights=owner.rights, jobs=jobs)
        machines[machine_id] = facts._replace(connected=True, running=0)
    for class_id in classes:
        row = commands.read_class(tx, class_id)
        defined = commands.find_by_revision(tx, row.revision_id)
        command = decode_command(defined.definition) if defined else Command("")
        command = changes.commands.get(command.name, command)
        asks[class_id] = class_requirements(row, command)
        for machine_id, facts in machines.items():
            sites[class_id, machine_id] = _site(
                command, facts, memory.machines[machine_id].zone, class_limits(row)
            )
    return Scenario(
        asks, machines, sites, {**memory.placement.semaphore_sizes, **changes.semaphore_sizes}
    )


def _site(command: Command, machine: e.MachineFacts, zone: str, job: Any) -> e.EffectiveSettings:
    site = e.EffectiveSettings(
        combined_hours(command, machine.policy, zone), combined_limits(command, machine.policy, job)
    )
    if site.hours is not None:
        try:
            load_zone(site.hours.zone)
        except ValueError as error:
            return e.EffectiveSettings(None, site.bounds, f"its hours cannot be told: {error}")
    return site


def _sums(
    rows: Sequence[EndedJob],
    names: Mapping[int, str],
    before: Sequence[ReplayedJob],
    after: Sequence[ReplayedJob],
) -> list[dict[str, Any]]:
    found = []
    for name in sorted(set(names.values())):
        of_it = [i for i, each in enumerate(rows) if names[each.class_id] == name]
        found.append(
            {
                "command": name,
                "jobs": len(of_it),
                "now": _sum([rows[i] for i in of_it], [before[i] for i in of_it]),
                "then": _sum([rows[i] for i in of_it], [after[i] for i in of_it]),
            }
        )
    return found


def _sum(rows: Sequence[EndedJob], outcomes: Sequence[ReplayedJob]) -> dict[str, Any]:
    """Mean wait of those that start, the last end, and how many never end or are cut short."""
    waits = [
        (each.started_ms - row.submitted_ms) / 1000
        for row, each in zip(rows, outcomes, strict=True)
        if each.started_ms is not None
    ]
    ends = [each.ended_ms for each in outcomes if each.ended_ms is not None]
    return {
        "mean_wait_s": sum(waits) / len(waits) if waits else None,
        "last_end_ms": max(ends, default=None),
        "never": sum(each.ended_ms is None for each in outcomes),
        "cut": sum(each.cut for each in outcomes),
    }


def _changed(
    rows: Sequence[EndedJob],
    names: Mapping[int, str],
    before: Sequence[ReplayedJob],
    after: Sequence[ReplayedJob],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row, old, new in zip(rows, before, after, strict=True):
        if old != new and len(found) < _MOST_ROWS:
            found.append(
                {
                    "id": row.job_id,
                    "command": names[row.class_id],
                    "submitted_ms": row.submitted_ms,
                    "now": _times(old),
                    "then": _times(new),
                }
            )
    return found


def _times(outcome: ReplayedJob) -> dict[str, Any]:
    return {
        "machine": outcome.machine,
        "start_ms": outcome.started_ms,
        "end_ms": outcome.ended_ms,
        "cut": outcome.cut,
    }
