"""`mythjobs what-if`: replays past jobs under the current settings and under changed ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mythjobs.clock import Now
from mythjobs.errors import DefinitionError, command_not_found
from mythjobs.master.catalog import class_limits, class_requirements, decode_command
from mythjobs.master.explain.machine import settings_of
from mythjobs.master.state import MasterState
from mythjobs.model import toml_values as r
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.machine_control import NO_CONTROL
from mythjobs.model.machine_policy import MachinePolicy, policy_from_table
from mythjobs.model.policy_tables import read_semaphores
from mythjobs.model.zone import DAY_MS
from mythjobs.protocol import responses
from mythjobs.scheduler.eligibility import EffectiveSettings, Requirements
from mythjobs.scheduler.replay import PastJob, ReplayedJob, Scenario, replay
from mythjobs.scheduler.settings import combine_settings
from mythjobs.store.queries.history import EndedJob, read_ended_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands

_LOOK_BACK_MS: Final = 7 * DAY_MS
_MAX_CHANGED: Final = 1000
_KEYS: Final = ("machines", "commands", "semaphores")


@dataclass(frozen=True, slots=True)
class SettingsChanges:
    """Settings to replay past jobs with instead of the current ones, each by name."""

    machines: Mapping[str, MachinePolicy]
    commands: Mapping[str, Command]
    semaphore_sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SettingsReplay:
    """Past jobs, and the scenarios in which to replay them. Needs no transaction any more, so that
    a replay of minutes keeps no snapshot of the store open."""

    since_ms: int
    rows: Sequence[EndedJob]
    current: Scenario
    changed: Scenario

    def run(self) -> responses.WhatIf:
        """Return a summary of both replays for each command, and the jobs whose times differ."""
        rows = self.rows
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
        before, after = replay(self.current, jobs), replay(self.changed, jobs)
        names = {class_id: each.command for class_id, each in self.changed.requirements.items()}
        return {
            "since_ms": self.since_ms,
            "jobs": len(rows),
            "commands": _summarize_commands(rows, names, before, after),
            "changed": _list_changed(rows, names, before, after),
        }


def read_replay(tx: Transaction, state: MasterState, table: r.Table, now: Now) -> SettingsReplay:
    """Return the jobs of the last week, to replay under the current and under changed settings.

    table: settings to change, as tables [machines.NAME], [commands.NAME] and [semaphores].
    Raises DefinitionError, NoSuchMachine, NoSuchCommand.
    """
    changes = read_changes(tx, state, table)
    since_ms = now.wall_ms - _LOOK_BACK_MS
    rows = read_ended_jobs(tx, since_ms)
    class_ids = {each.class_id for each in rows}
    current = build_scenario(tx, state, class_ids, SettingsChanges({}, {}, {}))
    changed = build_scenario(tx, state, class_ids, changes)
    return SettingsReplay(since_ms, rows, current, changed)


def read_changes(tx: Transaction, state: MasterState, table: r.Table) -> SettingsChanges:
    """Parse changed settings. Raises DefinitionError, NoSuchMachine, NoSuchCommand."""
    for key in table:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    policies = {}
    for name, given in _named_tables(table, "machines"):
        machine = state.find_machine(name)
        with _error_prefix(f"machines.{name}"):
            policies[name] = policy_from_table({**settings_of(machine), **given})
    changed = {}
    for name, given in _named_tables(table, "commands"):
        defined = commands.find_by_name(tx, name)
        if defined is None:
            raise command_not_found(name)
        with _error_prefix(f"commands.{name}"):
            changed[name] = command_from_table(
                {**json.loads(defined.definition), **given, "name": name}
            )
    sizes = dict(read_semaphores(table.get("semaphores", {}), least=0))
    return SettingsChanges(policies, changed, sizes)


@contextmanager
def _error_prefix(key: str) -> Iterator[None]:
    """Prefix the key in a DefinitionError with the key of the table that contains it."""
    try:
        yield
    except DefinitionError as error:
        raise DefinitionError("", f"{key}.{error.sentence}") from None


def _named_tables(table: r.Table, key: str) -> Iterable[tuple[str, dict[str, object]]]:
    value = table.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise DefinitionError(key, f"must be tables, each headed [{key}.NAME]")
    return value.items()


def build_scenario(
    tx: Transaction, state: MasterState, class_ids: set[int], changes: SettingsChanges
) -> Scenario:
    requirements: dict[int, Requirements] = {}
    settings: dict[tuple[int, int], EffectiveSettings] = {}
    machines = {}
    for machine_id, machine in state.machines.items():
        facts = machine.facts()
        policy = changes.machines.get(machine.name)
        if policy is not None:
            jobs = machine.cores if policy.jobs is None else policy.jobs
            if machine.own.jobs is not None:
                jobs = min(jobs, machine.own.jobs)
            facts = facts._replace(policy=policy, rights=policy.rights, jobs=jobs)
        machines[machine_id] = facts._replace(connected=True, running=0, control=NO_CONTROL)
    for class_id in class_ids:
        row = commands.read_class(tx, class_id)
        defined = commands.find_by_revision(tx, row.revision_id)
        command = decode_command(defined.definition) if defined else Command("")
        command = changes.commands.get(command.name, command)
        requirements[class_id] = class_requirements(row, command)
        for machine_id, facts in machines.items():
            settings[class_id, machine_id] = combine_settings(
                command,
                facts.policy,
                state.machines[machine_id].zone,
                class_limits(row),
                own=state.machines[machine_id].own,
            )
    return Scenario(
        requirements,
        machines,
        settings,
        {**state.placement.semaphore_sizes, **changes.semaphore_sizes},
        state.placement.freed_by_freeze,
    )


def _summarize_commands(
    rows: Sequence[EndedJob],
    names: Mapping[int, str],
    before: Sequence[ReplayedJob],
    after: Sequence[ReplayedJob],
) -> list[responses.ReplayedCommand]:
    found: list[responses.ReplayedCommand] = []
    for name in sorted(set(names.values())):
        indexes = [i for i, each in enumerate(rows) if names[each.class_id] == name]
        found.append(
            {
                "command": name,
                "jobs": len(indexes),
                "now": _summarize([rows[i] for i in indexes], [before[i] for i in indexes]),
                "then": _summarize([rows[i] for i in indexes], [after[i] for i in indexes]),
            }
        )
    return found


def _summarize(rows: Sequence[EndedJob], replayed: Sequence[ReplayedJob]) -> responses.Replayed:
    """Summarize one command's replayed jobs.

    mean_wait_s: of the jobs that started. never: number of jobs that did not end. cut: number of
    jobs that a wall limit or the end of a run window ended.
    """
    waits = [
        (each.started_ms - row.submitted_ms) / 1000
        for row, each in zip(rows, replayed, strict=True)
        if each.started_ms is not None
    ]
    ends = [each.ended_ms for each in replayed if each.ended_ms is not None]
    return {
        "mean_wait_s": sum(waits) / len(waits) if waits else None,
        "last_end_ms": max(ends, default=None),
        "never": sum(each.ended_ms is None for each in replayed),
        "cut": sum(each.cut for each in replayed),
    }


def _list_changed(
    rows: Sequence[EndedJob],
    names: Mapping[int, str],
    before: Sequence[ReplayedJob],
    after: Sequence[ReplayedJob],
) -> list[responses.ChangedJob]:
    changed: list[responses.ChangedJob] = [
        {
            "id": row.job_id,
            "command": names[row.class_id],
            "submitted_ms": row.submitted_ms,
            "now": _encode(old),
            "then": _encode(new),
        }
        for row, old, new in zip(rows, before, after, strict=True)
        if old != new
    ]
    return changed[:_MAX_CHANGED]


def _encode(replayed: ReplayedJob) -> responses.Run:
    return {
        "machine": replayed.machine,
        "start_ms": replayed.started_ms,
        "end_ms": replayed.ended_ms,
        "cut": replayed.cut,
    }
