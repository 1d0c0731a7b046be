"""In-memory state of the master between turns: machines, live attempts, run times, timers.

The size of the state does not depend on the backlog, and all of it can be reloaded from the
store. A turn changes a draft (a copy), which replaces the state after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from mythjobs.clock import Now
from mythjobs.errors import DefinitionError, machine_not_found
from mythjobs.master.isolation import Problem, SetAside, Unit
from mythjobs.master.machine import LiveAttempt, Machine, make_copier
from mythjobs.master.notify.notify_state import NotifyState, load_notify_state
from mythjobs.master.placement.cache import PlacementCache
from mythjobs.master.schedule_state import KnownSchedules
from mythjobs.model.machine_control import MachineControl
from mythjobs.model.machine_policy import (
    ALLOW_NOTHING,
    Rights,
    policy_from_table,
)
from mythjobs.protocol.messages import USER_HOLDER
from mythjobs.protocol.scaling import MachineDescription
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import (
    commands,
    deadlines,
    dependencies,
    jobs,
    machines,
    overrides,
    readiness,
    semaphores,
)

# Number of runs after which the mean run time of a command on a machine is used.
MIN_RUNS: Final = 3
# Minimum weight of the newest run in a mean run time, so that the mean follows a change.
_MIN_WEIGHT: Final = 0.2


class Deferral(NamedTuple):
    """Deferral of a command: none of its jobs starts before `until_ms` (wall clock)."""

    until_ms: int
    reason: str


@dataclass(slots=True)
class MasterState:
    """machines: by id. Those of a draft belong to earlier states, too, and must not be changed,
    except those that open_machine() has returned."""

    machines: dict[int, Machine] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)  # ids of the machines that this draft has copied
    by_connection: dict[int, int] = field(default_factory=dict)  # machine id by connection
    # Ids of job classes that may have new ready jobs, which the placement pass has to read.
    classes_to_recheck: set[int] = field(default_factory=set)
    # Number of runs and mean run time in µs, by (command id, machine id).
    run_times: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    has_own_run_times: bool = True  # False: `run_times` belongs to earlier states, too
    next_job_id: int = 1
    has_open_dependencies: bool = False
    has_upkeep: bool = True  # table `upkeep`, with work recorded for later turns, may have rows
    next_due_ms: int | None = None  # time (wall clock) at which the next timer fires
    next_expiry_ms: int | None = None  # no lease expires before this time (monotonic)
    deferrals: dict[int, Deferral] = field(default_factory=dict)  # by command id
    set_aside: dict[Unit, SetAside] = field(default_factory=dict)  # the dict is never changed
    problems: tuple[Problem, ...] = ()  # found by load_state(), for the log
    placement: PlacementCache = field(default_factory=PlacementCache)
    notify: NotifyState = field(default_factory=NotifyState)
    schedules: KnownSchedules = field(default_factory=KnownSchedules)  # replaced, never changed
    schedule_clocks: Now | None = None  # clocks at the last turn that looked at the schedules

    def draft(self) -> MasterState:
        copy = _copy_state(self)
        # Only dicts are copied here: a thousand machines must not slow down a turn about one.
        copy.machines, copy.opened = dict(self.machines), set()
        copy.by_connection = dict(self.by_connection)
        copy.classes_to_recheck = set(self.classes_to_recheck)
        copy.has_own_run_times = False
        copy.deferrals = dict(self.deferrals)
        copy.placement = self.placement.draft()
        return copy

    def open_machine(self, machine_id: int) -> Machine:
        """Return a machine as this draft's own, which the turn may change."""
        machine = self.machines[machine_id]
        if machine_id not in self.opened:
            self.opened.add(machine_id)
            machine = self.machines[machine_id] = machine.draft()
        return machine

    def add_machine(self, machine: Machine) -> None:
        self.machines[machine.machine_id] = machine
        self.opened.add(machine.machine_id)

    def add_attempt(self, machine_id: int, job_id: int, attempt: LiveAttempt) -> None:
        self.open_machine(machine_id).live_attempts[job_id] = attempt
        self.schedule_expiry(attempt)

    def schedule_expiry(self, attempt: LiveAttempt) -> None:
        expires_ms = attempt.expires_ms
        if expires_ms is not None:
            self.next_expiry_ms = min(self.next_expiry_ms or expires_ms, expires_ms)

    def schedule_turn(self, wall_ms: int) -> None:
        """Have the timers run at `wall_ms`, or earlier if another timer fires before."""
        self.next_due_ms = min(self.next_due_ms or wall_ms, wall_ms)

    def find_machine(self, name: str) -> Machine:
        """Return the machine with this name, to be read only. Raises NoSuchMachine."""
        for each in self.machines.values():
            if each.name == name:
                return each
        known = [each.name for each in self.machines.values() if not each.is_revoked]
        raise machine_not_found(name, known)

    def open_named(self, name: str) -> Machine:
        """Return the machine with this name, which the turn may change. Raises NoSuchMachine."""
        return self.open_machine(self.find_machine(name).machine_id)

    def machine_on_connection(self, connection: int) -> Machine | None:
        """Return the machine, to be read only."""
        machine_id = self.by_connection.get(connection)
        return None if machine_id is None else self.machines[machine_id]

    def set_connection(self, machine: Machine, connection: int | None) -> None:
        """Bind an opened machine to a connection, or to none."""
        if machine.connection is not None:
            self.by_connection.pop(machine.connection, None)
        machine.connection = connection
        if connection is not None:
            self.by_connection[connection] = machine.machine_id

    def typical_s(self, command_id: int, machine_id: int) -> float | None:
        """Return the mean run time of a command on a machine; None before MIN_RUNS runs."""
        runs, wall_us = self.run_times.get((command_id, machine_id), (0, 0))
        return wall_us / 1e6 if runs >= MIN_RUNS else None

    def record_run_time(self, command_id: int, machine_id: int, wall_s: float) -> None:
        runs, old_us = self.run_times.get((command_id, machine_id), (0, 0))
        wall_us = round(wall_s * 1e6)
        weight = max(_MIN_WEIGHT, 1 / (runs + 1))
        mean_us = round(old_us + weight * (wall_us - old_us))
        if not self.has_own_run_times:
            self.run_times, self.has_own_run_times = dict(self.run_times), True
        self.run_times[command_id, machine_id] = (runs + 1, mean_us)


_copy_state = make_copier(MasterState)


def load_state(tx: Transaction, now: Now) -> MasterState:
    """Load the master's state, except schedules, from the store, at the start of the master.

    The store does not record renewals of leases. Every lease counts as renewed now, so that no
    lease expires at the master before it expires at its machine.
    """
    notify, problems = load_notify_state(tx)
    state = MasterState(
        classes_to_recheck=readiness.read_ready_classes(tx),
        run_times=machines.read_footprints(tx),
        next_job_id=jobs.read_next_id(tx),
        has_open_dependencies=dependencies.has_unmet(tx),
        next_due_ms=readiness.find_next_due_ms(tx),
        deferrals={each: Deferral(at, why) for each, at, why in commands.read_put_off(tx)},
        notify=notify,
    )
    overrides.remove_expired(tx, now.wall_ms)
    state.placement.overrides = {
        (each.machine_id, each.command_id): (each.kind, each.until_ms)
        for each in overrides.read_all(tx)
    }
    state.placement.semaphore_sizes = semaphores.read_all(tx)
    state.placement.freed_by_freeze = semaphores.read_free_when_frozen(tx)
    state.placement.disabled = frozenset(commands.read_disabled(tx))
    rows = machines.read_all(tx)
    problems += _add_machines(state, rows)
    state.problems = tuple(problems)
    _schedule_timers(state, rows, deadlines.find_next_ms(tx, 0))
    _add_live_attempts(state, machines.read_live_attempts(tx), now)
    return state


def _add_machines(state: MasterState, rows: Iterable[machines.MachineRow]) -> list[Problem]:
    """Add the machines; return the problems of those that run nothing, as their settings cannot be
    read."""
    problems = []
    for row in rows:
        try:
            state.machines[row.machine_id] = machine_from_row(row)
        except (ValueError, TypeError, KeyError, AttributeError, DefinitionError) as error:
            what = f"machine {row.name} runs nothing, as its settings cannot be read"
            problems.append(Problem(what, error))
            without_rights = row._replace(
                rights=ALLOW_NOTHING.to_json(), settings="{}", description="{}"
            )
            state.machines[row.machine_id] = machine_from_row(without_rights)
    return problems


def _schedule_timers(
    state: MasterState, rows: Iterable[machines.MachineRow], deadline_ms: int | None
) -> None:
    """Schedule a turn for the first end of a deferral or pause, notification and deadline."""
    times = [each.until_ms for each in state.deferrals.values()]
    times += [each.pause_until_ms for each in rows if each.paused and each.pause_until_ms]
    times += [each for each in (state.notify.next_due_ms, deadline_ms) if each is not None]
    for each_ms in times:
        state.schedule_turn(each_ms)


def _add_live_attempts(
    state: MasterState, rows: Iterable[machines.LiveAttemptRow], now: Now
) -> None:
    for row in rows:
        attempt = LiveAttempt(
            row.n,
            row.class_id,
            row.command_id,
            row.batch_id,
            row.priority,
            row.subject,
            row.started_ms,
            row.stop_requested,
            row.losses,
            row.failures,
            row.boot_id,
            row.silence,
            row.lease_s,
            row.leased_ms,
            renewed_ms=now.steady_ms,
            frozen_by=(USER_HOLDER,) if row.paused else (),
        )
        state.add_attempt(row.machine_id, row.job_id, attempt)


def machine_from_row(row: machines.MachineRow) -> Machine:
    description = msgspec.json.decode(row.description or "{}", type=MachineDescription)
    return Machine(
        row.machine_id,
        row.name,
        row.key,
        Rights.from_json(row.rights),
        row.jobs,
        row.cores,
        row.boot_id,
        zone=row.zone,
        policy=policy_from_table(json.loads(row.settings), known_zone=False),
        is_revoked=row.revoked_ms is not None,
        description=description,
        found_labels=frozenset(description.labels),
        control=MachineControl(bool(row.drained), bool(row.paused), row.pause_until_ms),
    )
