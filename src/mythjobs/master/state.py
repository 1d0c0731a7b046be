"""What the core remembers between turns: machines, their live attempts, what commands take.

Nothing here grows with the backlog, and all of it can be read again from the store. A turn works on
a draft that replaces the memory only after its commit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from mythjobs.clock import Now
from mythjobs.errors import no_such_machine
from mythjobs.master.copying import copier
from mythjobs.master.placement.cache import Plan
from mythjobs.model.limits import Limits
from mythjobs.model.machine_policy import Owner, Rights, owner_from
from mythjobs.model.window import Hours
from mythjobs.protocol.lease import KEEP, presumed_after_ms
from mythjobs.scheduler.eligibility import MachineFacts
from mythjobs.store.statement import Transaction
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

# A footprint counts as learned after so many runs, and follows a change at this rate.
LEARNED_RUNS: Final = 3
_RATE: Final = 0.2


@dataclass(slots=True)
class Live:
    """A live attempt. Replaced, never changed, so that drafts may share it."""

    n: int
    class_id: int
    command_id: int
    batch_id: int | None
    priority: int
    subject: str | None
    started_ms: int | None = None
    stop_by: str | None = None
    losses: int = 0
    failures: int = 0
    # Of the machine as it was when the attempt was leased: at another boot it is over.
    boot_id: str = ""
    # Its terms, and when (steady) the last heartbeat that held it arrived. In memory only.
    silence: str = KEEP
    lease_s: float | None = None
    arrived_ms: int = 0
    grant_no: int = 0  # of its grant, on this connection; 0 if it is older
    frozen: tuple[str, ...] = ()  # by whom, as its machine says
    # The hours that its machine was told on this connection, in its grant or after it.
    told: Hours | Literal["?"] | None = "?"
    limits: Limits | Literal["?"] = "?"  # those that it was told

    def with_start(self, at_ms: int) -> Live:
        copy = _copy_live(self)
        copy.started_ms = at_ms
        return copy

    def with_stop(self, by: str) -> Live:
        copy = _copy_live(self)
        copy.stop_by = by
        return copy

    def with_note(self, arrived_ms: int) -> Live:
        copy = _copy_live(self)
        copy.arrived_ms = arrived_ms
        return copy

    def with_grant(self, grant_no: int, arrived_ms: int) -> Live:
        copy = _copy_live(self)
        copy.grant_no, copy.arrived_ms = grant_no, arrived_ms
        return copy

    def with_told(self, hours: Hours | None, limits: Limits) -> Live:
        copy = _copy_live(self)
        copy.told, copy.limits = hours, limits
        return copy

    def with_frozen(self, holders: tuple[str, ...]) -> Live:
        copy = _copy_live(self)
        copy.frozen = holders
        return copy

    @property
    def expires_ms(self) -> int | None:
        """When, on the steady clock, it is presumed over if nothing is heard; None: never."""
        after_ms = presumed_after_ms(self.silence, self.lease_s)
        return None if after_ms is None else self.arrived_ms + after_ms


_copy_live = copier(Live)


@dataclass(slots=True)
class Machine:
    """A machine: its row, its connection if there is one, and what it has."""

    machine_id: int
    name: str
    key: str
    rights: Rights
    ceiling: int | None  # the owner's
    cores: int
    boot_id: str
    connection: int | None = None
    incarnation: str = ""
    hb: int = 0  # the last heartbeat heard on this connection; no grant before the first
    grants: int = 0  # the last grant number given on this connection
    draining: bool = False  # it ends all it has; what it is granted now it would only return
    heard_ms: int = 0  # steady
    zone: str = ""  # as it says itself
    clock_ms: int = 0  # how much its clock on the wall was ahead of ours at the last heartbeat
    can: frozenset[str] = frozenset()  # what it enforces by itself, as it said when it came
    owner: Owner = field(default_factory=Owner)  # rights and ceiling stand above
    most_now: int | None = None  # `up --jobs N`, which nobody writes down
    live: dict[int, Live] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        if self.most_now is not None:
            return self.most_now
        return self.cores if self.ceiling is None else self.ceiling

    @property
    def takes(self) -> bool:
        """Whether it may be granted anything now."""
        return self.hb > 0 and not self.draining

    def stands(self, live: Live) -> bool:
        """Whether this attempt is known to be frozen; of a machine that is away nothing is."""
        return bool(live.frozen) and self.connection is not None

    def facts(self) -> MachineFacts:
        return MachineFacts(
            self.name,
            self.rights,
            self.takes,
            self.jobs,
            len(self.live),
            self.machine_id,
            self.owner,
            self.owner.zone or self.zone,
            self.can,
            self.clock_ms,
        )

    def draft(self) -> Machine:
        copy = _copy_machine(self)
        copy.live = dict(self.live)
        return copy


_copy_machine = copier(Machine)


class PutOff(NamedTuple):
    """No job of a command starts before this, and why."""

    until_ms: int
    reason: str


@dataclass(slots=True)
class Memory:
    machines: dict[int, Machine] = field(default_factory=dict)
    waking: set[int] = field(default_factory=set)  # classes that may have a ready job
    footprints: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    next_job_id: int = 1
    open_dependencies: bool = False
    upkeep: bool = True  # there may be upkeep to do
    next_due_ms: int | None = None  # wall
    # Steady; not later than the first instant at which an attempt can be presumed over.
    next_expiry_ms: int | None = None
    put_off: dict[int, PutOff] = field(default_factory=dict)  # by command
    plan: Plan = field(default_factory=Plan)

    def draft(self) -> Memory:
        copy = _copy_memory(self)
        copy.machines = {key: each.draft() for key, each in self.machines.items()}
        copy.waking = set(self.waking)
        copy.footprints = dict(self.footprints)
        copy.put_off = dict(self.put_off)
        copy.plan = self.plan.draft()
        return copy

    def lease(self, machine: Machine, job_id: int, live: Live) -> None:
        """The machine has it from now on."""
        machine.live[job_id] = live
        self.expect(live)

    def expect(self, live: Live) -> None:
        """Its end is to be presumed when its time is over."""
        expires_ms = live.expires_ms
        if expires_ms is not None:
            self.next_expiry_ms = min(self.next_expiry_ms or expires_ms, expires_ms)

    def due(self, wall_ms: int) -> None:
        """Something is to be done at this instant."""
        self.next_due_ms = min(self.next_due_ms or wall_ms, wall_ms)

    def machine(self, name: str) -> Machine:
        """Raises NoSuchMachine."""
        for each in self.machines.values():
            if each.name == name:
                return each
        raise no_such_machine(name)

    def by_connection(self, connection: int) -> Machine | None:
        for each in self.machines.values():
            if each.connection == connection:
                return each
        return None

    def typical_s(self, command_id: int, machine_id: int) -> float | None:
        """How long a command usually takes there; None until it is learned."""
        runs, wall_us = self.footprints.get((command_id, machine_id), (0, 0))
        return wall_us / 1e6 if runs >= LEARNED_RUNS else None

    def learn(self, command_id: int, machine_id: int, wall_s: float) -> None:
        runs, old_us = self.footprints.get((command_id, machine_id), (0, 0))
        wall_us = round(wall_s * 1e6)
        rate = max(_RATE, 1 / (runs + 1))
        self.footprints[command_id, machine_id] = (
            runs + 1,
            round(old_us + rate * (wall_us - old_us)),
        )


_copy_memory = copier(Memory)


def recall(tx: Transaction, now: Now) -> Memory:
    """The memory at a start, from the store alone.

    When the machines were last heard nobody wrote down: every note is set to now, so that no
    lease ends earlier than its machine believes.
    """
    memory = Memory(
        waking=readiness.ready_classes(tx),
        footprints=machines.footprints(tx),
        next_job_id=jobs.next_id(tx),
        open_dependencies=dependencies.any_open(tx),
        next_due_ms=readiness.next_due_ms(tx),
        put_off={each: PutOff(at, why) for each, at, why in commands.every_put_off(tx)},
    )
    overrides.expire(tx, now.wall_ms)
    memory.plan.overrides = {
        (each.machine_id, each.command_id): (each.kind, each.until_ms)
        for each in overrides.every(tx)
    }
    memory.plan.sizes = semaphores.every(tx)
    memory.plan.freed = semaphores.freed(tx)
    memory.plan.disabled = frozenset(commands.disabled(tx))
    times = [each.until_ms for each in memory.put_off.values()]
    deadline_ms = deadlines.next_ms(tx, 0)
    for each_ms in times if deadline_ms is None else [*times, deadline_ms]:
        memory.due(each_ms)
    for found in machines.every(tx):
        memory.machines[found.machine_id] = machine_from(found)
    for row in machines.live(tx):
        live = Live(
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
            arrived_ms=now.steady_ms,
        )
        memory.lease(memory.machines[row.machine_id], row.job_id, live)
    return memory


def machine_from(row: machines.MachineRow) -> Machine:
    return Machine(
        row.machine_id,
        row.name,
        row.key,
        read_rights(row.rights),
        row.jobs,
        row.cores,
        row.boot_id,
        zone=row.zone,
        owner=owner_from(json.loads(row.settings), known_zone=False),
    )


def read_rights(text: str) -> Rights:
    value = json.loads(text)
    return Rights(value["mode"], frozenset(value["commands"]))


def write_rights(rights: Rights) -> str:
    return json.dumps({"mode": rights.mode, "commands": sorted(rights.commands)})
