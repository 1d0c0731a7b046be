"""Who sees all processes of all machines, and says which promise was broken.

It believes nothing that the programs say of themselves: what ran it has from the machines, what
they were allowed from the messages that reached them.
"""

from __future__ import annotations

from typing import Final, Protocol

from mythjobs.protocol import messages as m
from mythjobs.model.silence import IDEMPOTENT
from tests.simulation.hours import HoursWatch
from tests.simulation.program import Key, Program
from tests.simulation.world import Clock, World

# From the agent's decision to the process: its reaper must hear of it and spawn.
_SPAWN_MS: Final = 500
# So soon a living agent has ended what a dead reaper left.
_SETTLED_MS: Final = 3000


class Seen(Protocol):
    """What of a machine the witness sees."""

    name: str
    boot_id: str
    clock: Clock

    @property
    def minded_ms(self) -> int:
        """For how long an agent has been there that runs and knows its reapers."""


class Allowed:
    """What a machine was allowed of one attempt, by its own clocks."""

    def __init__(self, grant: m.Grant, sent_ms: int) -> None:
        self.silence = grant.silence
        self.lease_s = grant.lease_s
        self.start_by_ms = sent_ms + round(1000 * grant.start_by_s)
        self.end_ms = sent_ms
        self.renew(sent_ms)

    def renew(self, sent_ms: int) -> None:
        if self.lease_s is not None:
            self.end_ms = max(self.end_ms, sent_ms + round(1000 * self.lease_s))


class Witness:
    def __init__(self, world: World) -> None:
        self._world = world
        self.allowed: dict[tuple[str, Key], Allowed] = {}
        self.alive: dict[Key, tuple[Seen, Program]] = {}
        self.started: dict[Key, str] = {}
        self.ends: dict[Key, object] = {}
        # What the master holds to be over.
        self.over: set[Key] = set()
        self.hours = HoursWatch(world)
        self._told: set[tuple[str, Key]] = set()

    # What machines are told.

    def granted(self, machine: Seen, grant: m.Grant, sent_ms: int) -> None:
        key = machine.name, (grant.job, grant.n)
        there = self.allowed.get(key)
        if there is None:
            self.allowed[key] = Allowed(grant, sent_ms)
        else:
            there.start_by_ms = max(there.start_by_ms, sent_ms + round(1000 * grant.start_by_s))
            there.renew(sent_ms)

    def renewed(self, machine: Seen, key: Key, sent_ms: int) -> None:
        if (there := self.allowed.get((machine.name, key))) is not None:
            there.renew(sent_ms)

    # What machines do.

    def told(self, machine: Seen, key: Key) -> None:
        """A machine says what became of an attempt."""
        if (machine.name, key) in self._told:
            self._world.count("ends said again")
        self._told.add((machine.name, key))

    def began(self, machine: Seen, program: Program) -> None:
        key = program.key
        allowed = self.allowed.get((machine.name, key))
        self._world.count("starts")
        if key in self.started:
            self._broken("I8", f"{machine.name} starts {key}, which ran on {self.started[key]}")
        elif allowed is None:
            self._broken("I8", f"{machine.name} starts {key}, which it was not granted")
        elif machine.clock.steady() > allowed.start_by_ms + _SPAWN_MS:
            self._broken("I8", f"{machine.name} starts {key} after its start-by instant")
        elif key in self.over:
            self._broken("I8", f"{machine.name} starts {key}, which is over")
        self.started[key] = machine.name
        if allowed is None:
            return
        for other_machine, other in self.alive.values():
            self._compare(machine, program, other_machine, other)
        self.alive[key] = machine, program
        if allowed.lease_s is not None:
            self._world.at(machine.clock.when(allowed.end_ms), self._lease, machine, program)
        self.hours.began(machine, program)

    def _compare(self, machine: Seen, program: Program, there: Seen, other: Program) -> None:
        if IDEMPOTENT in (self._silence(machine, program), self._silence(there, other)):
            return
        if self._is_nobodys(there, other):
            return
        if other.key[0] == program.key[0]:
            self._broken(
                "I4", f"{machine.name} starts {program.key} while {there.name} runs {other.key}"
            )
        elif program.subject and program.subject == other.subject:
            said = f"{machine.name} starts {program.key}, {there.name} runs {other.key}"
            self._broken("SUBJECT", f"{said}, both about {program.subject}")

    def _silence(self, machine: Seen, program: Program) -> str:
        return self.allowed[machine.name, program.key].silence

    def finished(self, program: Program, how: object) -> None:
        self.alive.pop(program.key, None)
        self.ends[program.key] = how

    def _lease(self, machine: Seen, program: Program) -> None:
        if program.key not in self.alive:
            return
        end_ms = self.allowed[machine.name, program.key].end_ms
        if machine.clock.steady() < end_ms:
            self._world.at(machine.clock.when(end_ms), self._lease, machine, program)
        elif self._is_nobodys(machine, program):
            self._world.after(_SETTLED_MS, self._lease, machine, program)
        else:
            self._broken("I10", f"{program.key} lives on {machine.name} at its lease's end")

    def _is_nobodys(self, machine: Seen, program: Program) -> bool:
        """Its reaper was killed, and there was no agent yet that could end it."""
        orphaned_ms = program.orphaned_ms
        if orphaned_ms is None:
            return False
        excused = min(machine.minded_ms, self._world.now - orphaned_ms) < _SETTLED_MS
        if excused:
            self._world.count("excused")
        return excused

    # What the master concludes.

    def is_over(self, key: Key) -> None:
        """A turn that says so is committed."""
        self.over.add(key)
        found = self.alive.get(key)
        if found is None:
            return
        machine, program = found
        if self._silence(machine, program) != IDEMPOTENT and not self._is_nobodys(*found):
            self._broken("I9", f"{key} is held to be over, and runs on {machine.name}")

    def told_end(self, key: Key, code: int) -> None:
        """What stands in the store of an attempt that ended by itself."""
        if self.ends.get(key) != code:
            self._broken("I21", f"{key} ended with {self.ends.get(key)}, the store says {code}")

    def told_unstarted(self, key: Key) -> None:
        if key in self.started:
            self._broken("I21", f"{key} ran on {self.started[key]}, the store says it never did")

    def _broken(self, promise: str, what: str) -> None:
        self._world.broken(promise, what)
