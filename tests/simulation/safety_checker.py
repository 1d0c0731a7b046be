"""Safety checker: observes the processes of all machines and reports violated properties.

It trusts no program of the product. What runs is known from the machines' models; what a machine
may run follows from the messages it received.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final, Protocol

from mythjobs.model.silence import IDEMPOTENT
from mythjobs.protocol import messages as m
from tests.simulation.control_checker import ControlChecker
from tests.simulation.hours_checker import HoursChecker
from tests.simulation.limit_checker import LimitChecker
from tests.simulation.program import Key, Program
from tests.simulation.simulator import SimClock, Simulator
from tests.simulation.terms_checker import TermsChecker

# From the agent's decision to the process: message to the reaper, and spawn.
_SPAWN_MS: Final = 500
# A running agent ends the processes of a dead reaper within this time.
_SETTLED_MS: Final = 3000
# From the message at the agent to the signal of the reaper.
_STOP_MS: Final = 2000
_FOR_EVER_MS: Final = 2**60


class ObservedMachine(Protocol):
    """What the checkers read of a machine."""

    name: str
    boot_id: str
    clock: SimClock

    @property
    def supervised_ms(self) -> int:
        """How long a running agent that has recovered its reapers is present; 0 if none is."""


class GrantedLease:
    """Start deadline and lease of one attempt on one machine, by the machine's steady clock."""

    def __init__(self, grant: m.Grant, sent_ms: int) -> None:
        self.silence = grant.silence
        self.command = grant.command
        self.lease_s = grant.lease_s
        self.start_deadline_ms = sent_ms + round(1000 * grant.start_by_s)
        self.end_ms = sent_ms
        self.renew(sent_ms)

    def renew(self, sent_ms: int) -> None:
        if self.lease_s is not None:
            self.end_ms = max(self.end_ms, sent_ms + round(1000 * self.lease_s))


class SafetyChecker:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        # By machine, numbers of slots that it was told, each with the time at which it ended.
        self._slots: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.leases: dict[tuple[str, Key], GrantedLease] = {}
        self.running: dict[Key, tuple[ObservedMachine, Program]] = {}
        self.started: dict[Key, str] = {}
        self.exits: dict[Key, object] = {}
        # Attempts that the master regards as ended.
        self.ended: dict[Key, int] = {}  # with the simulated time
        self.hours = HoursChecker(sim)
        self.limits = LimitChecker(sim)
        self.terms: TermsChecker | None = None
        self.control = ControlChecker(sim, self.running, self.hours)
        # Attempts that were live when a store was restored that does not know them.
        self._forsaken: set[Key] = set()
        self._reported_ends: set[tuple[str, Key]] = set()

    # Messages of the master. `sent_ms` is the send time of the heartbeat they answer.

    def on_grant(self, machine: ObservedMachine, grant: m.Grant, sent_ms: int) -> None:
        key = machine.name, (grant.job, grant.n)
        lease = self.leases.get(key)
        if lease is None:
            self.leases[key] = GrantedLease(grant, sent_ms)
        else:
            deadline_ms = sent_ms + round(1000 * grant.start_by_s)
            lease.start_deadline_ms = max(lease.start_deadline_ms, deadline_ms)
            lease.renew(sent_ms)

    def on_renewal(self, machine: ObservedMachine, key: Key, sent_ms: int) -> None:
        if (lease := self.leases.get((machine.name, key))) is not None:
            lease.renew(sent_ms)

    def on_heartbeat_answer(
        self, machine: ObservedMachine, sent_ms: int, keys: Collection[Key], wall_ms: int
    ) -> None:
        """The master answered a heartbeat, sent at this simulated time, that lists these attempts.

        wall_ms: the master's wall clock.
        """
        for key in keys:
            if key in self.running and self.ended.get(key, sent_ms) < sent_ms:
                self._report("I9", f"{key} has ended for the master, which renews its lease")
        if self.terms is not None:
            running = [each for each in keys if each in self.running]
            self.terms.on_renewal(machine, sent_ms, running, wall_ms)

    def on_rejection(self, machine: ObservedMachine, key: Key) -> None:
        """The master answered that an attempt is not live on this machine."""
        if (found := self.running.get(key)) is not None and found[0] is machine:
            self._sim.count("programs rejected as stale")
            self._sim.call_later(_STOP_MS, self._check_stopped, *found)

    def _check_stopped(self, machine: ObservedMachine, program: Program) -> None:
        if program.has_exited or program.is_terminating or program.orphaned_ms is not None:
            return
        if machine.supervised_ms < _STOP_MS:
            self._sim.call_later(_STOP_MS, self._check_stopped, machine, program)
        else:
            text = f"{program.key} runs on {machine.name}, which was told that it is not live"
            self._report("STALE", text)

    def on_slots(self, machine: ObservedMachine, slots: int) -> None:
        """The machine was told how many jobs it may run at once."""
        told = [(each, min(until_ms, self._sim.now_ms + _SPAWN_MS)) for each, until_ms
                in self._slots[machine.name] if until_ms > self._sim.now_ms]  # fmt: skip
        self._slots[machine.name] = [*told, (slots, _FOR_EVER_MS)]

    # Events on machines.

    def on_end_reported(self, machine: ObservedMachine, key: Key) -> None:
        if (machine.name, key) in self._reported_ends:
            self._sim.count("ends reported again")
        self._reported_ends.add((machine.name, key))

    def on_start(self, machine: ObservedMachine, program: Program) -> None:
        key = program.key
        lease = self.leases.get((machine.name, key))
        self._sim.count("starts")
        if key in self.started:
            self._report("I8", f"{machine.name} starts {key}, which ran on {self.started[key]}")
        elif lease is None:
            self._report("I8", f"{machine.name} starts {key} without a grant")
        elif machine.clock.steady_ms() > lease.start_deadline_ms + _SPAWN_MS:
            self._report("I8", f"{machine.name} starts {key} after its start deadline")
        elif key in self.ended and key not in self._forsaken:
            self._report("I8", f"{machine.name} starts {key}, which has ended for the master")
        self.started[key] = machine.name
        if lease is None:
            return
        for other_machine, other in self.running.values():
            self._check_conflict(machine, program, other_machine, other)
        self.running[key] = machine, program
        self._check_counts(machine, key, lease.command)
        if lease.lease_s is not None:
            end_ms = machine.clock.time_of_steady(lease.end_ms)
            self._sim.call_at(end_ms, self._check_lease, machine, program)
        self.hours.on_start(machine, program)
        self.limits.on_start(machine, program)
        self.control.on_start(machine, program)

    def _check_conflict(
        self, machine: ObservedMachine, program: Program, other_machine: ObservedMachine,
        other: Program,
    ) -> None:  # fmt: skip
        if not self._forsaken.isdisjoint((program.key, other.key)):
            return  # only a user can know whether a job still runs
        policies = self._silence(machine, program), self._silence(other_machine, other)
        if IDEMPOTENT in policies or self._is_excused(other_machine, other):
            return
        text = f"{machine.name} starts {program.key} while {other_machine.name} runs {other.key}"
        if other.key[0] == program.key[0]:
            self._report("I4", text)
        elif program.subject and program.subject == other.subject:
            self._report("SUBJECT", f"{text}, both about {program.subject}")

    def _check_counts(self, machine: ObservedMachine, key: Key, command: str) -> None:
        """Compare what runs on a machine with its slots, and with the levels of its hours."""
        commands = [
            self.leases[machine.name, other].command
            for other, (where, each) in self.running.items()
            if where is machine and each.orphaned_ms is None
        ]
        told = self._slots[machine.name]
        slots = max(each for each, until_ms in told if until_ms > self._sim.now_ms)
        if len(commands) > slots:
            text = f"{machine.name} runs {len(commands)} jobs after the start of {key}"
            self._report("CEILING", f"{text}; its limit is {slots}")
        levels = self.hours.find_steady_levels(machine, key)
        if levels is None:
            return
        of_command, of_machine, of_both = levels
        count, least = commands.count(command), min(of_command, of_both)
        if len(commands) > of_machine or count > least:
            text = f"{machine.name} runs {len(commands)} jobs, {count} of {command}"
            self._report("LEVEL", f"{text}; its hours allow {of_machine} and {least}")

    def _silence(self, machine: ObservedMachine, program: Program) -> str:
        return self.leases[machine.name, program.key].silence

    def on_exit(self, program: Program, outcome: object) -> None:
        self.running.pop(program.key, None)
        self.exits[program.key] = outcome

    def _check_lease(self, machine: ObservedMachine, program: Program) -> None:
        if program.key not in self.running:
            return
        end_ms = self.leases[machine.name, program.key].end_ms
        if machine.clock.steady_ms() < end_ms:
            at_ms = machine.clock.time_of_steady(end_ms)
            self._sim.call_at(at_ms, self._check_lease, machine, program)
        elif self._is_excused(machine, program):
            self._sim.call_later(_SETTLED_MS, self._check_lease, machine, program)
        else:
            self._report("I10", f"{program.key} runs on {machine.name} after its lease expired")

    def _is_excused(self, machine: ObservedMachine, program: Program) -> bool:
        """Return whether the reaper was killed and no agent has had time to end the program."""
        orphaned_ms = program.orphaned_ms
        if orphaned_ms is None:
            return False
        excused = min(machine.supervised_ms, self._sim.now_ms - orphaned_ms) < _SETTLED_MS
        if excused:
            self._sim.count("excused")
        return excused

    # Conclusions of the master.

    def on_ended(self, key: Key) -> None:
        """A committed turn ended the attempt."""
        self.ended[key] = self._sim.now_ms
        if (found := self.running.get(key)) is None:
            return
        machine, program = found
        if self._silence(machine, program) != IDEMPOTENT and not self._is_excused(*found):
            self._report("I9", f"{key} has ended for the master, but runs on {machine.name}")

    def forsake(self, keys: Collection[Key]) -> None:
        """The store was restored, and these attempts are not live there."""
        self._forsaken |= set(keys)
        self.ended |= dict.fromkeys(keys, self._sim.now_ms)

    def check_exit_code(self, key: Key, code: int) -> None:
        """Compare an exit code in the store with the real one."""
        if self.exits.get(key) != code:
            self._report("I21", f"{key} ended with {self.exits.get(key)}; the store says {code}")

    def check_not_started(self, key: Key) -> None:
        """Check an attempt that never started according to the store."""
        if key in self.started:
            text = f"{key} ran on {self.started[key]}; the store says it never started"
            self._report("I21", text)

    def _report(self, property_name: str, observation: str) -> None:
        self._sim.report_violation(property_name, observation)
