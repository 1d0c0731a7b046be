"""Control checker: what a machine starts, freezes and thaws once it is drained, paused or resumed.

What a machine was told follows from the messages that it received, the end of a pause from its own
wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mythjobs.protocol import messages as m
from tests.simulation.hours_checker import HoursChecker
from tests.simulation.program import Key, Program
from tests.simulation.simulator import Simulator

if TYPE_CHECKING:
    from tests.simulation.safety_checker import ObservedMachine

# From the message at the agent to the reaper's signal. An agent checks once a second whether a
# pause has ended.
_TOLERANCE_MS: Final = 2000
_RESUMED: Final = m.Control(False, False, None)


class ControlChecker:
    """running: the programs that run, with their machines; SafetyChecker changes it."""

    def __init__(
        self,
        sim: Simulator,
        running: Mapping[Key, tuple[ObservedMachine, Program]],
        hours: HoursChecker,
    ) -> None:
        self._sim = sim
        self._running = running
        self._hours = hours
        # What each machine was told last, or what is left of it after the end of a pause.
        self._told: dict[str, m.Control] = {}
        self._changed_ms: dict[str, int] = {}
        # Attempts that the master had a machine freeze for a user, by its last message.
        self._frozen_for_user: set[Key] = set()

    def on_control(self, machine: ObservedMachine, control: m.Control | None) -> None:
        """The machine received this state, None from a master that knows none."""
        told = control or _RESUMED
        if told.until_ms is not None and told.until_ms <= machine.clock.wall_ms():
            told = m.Control(told.drained)
        self._change(machine, told)
        self.watch_end(machine)

    def watch_end(self, machine: ObservedMachine) -> None:
        """End a pause whose time has come, else look again then; also called if a clock is set."""
        told = self._told.get(machine.name, _RESUMED)
        if not told.paused or told.until_ms is None:
            return
        if told.until_ms <= machine.clock.wall_ms():
            self._sim.count("pauses that ended by themselves")
            self._change(machine, m.Control(told.drained), is_by_itself=True)
        else:
            ends_ms = machine.clock.time_of_wall(told.until_ms)
            self._sim.call_at(ends_ms, self.watch_end, machine)

    def on_freeze(self, key: Key, is_frozen: bool) -> None:
        """The machine was told to freeze or thaw an attempt for a user."""
        (self._frozen_for_user.add if is_frozen else self._frozen_for_user.discard)(key)

    def on_start(self, machine: ObservedMachine, program: Program) -> None:
        told = self._told.get(machine.name, _RESUMED)
        if not (told.drained or told.paused):
            return
        unchanged_ms = self._sim.now_ms - self._changed_ms[machine.name]
        # An agent that was killed may have left starts to the reaper.
        if unchanged_ms >= _TOLERANCE_MS and machine.supervised_ms >= unchanged_ms:
            state = "drained" if told.drained else "paused"
            self._report(f"{machine.name} starts {program.key}, but is {state}")

    def _change(
        self, machine: ObservedMachine, told: m.Control, *, is_by_itself: bool = False
    ) -> None:
        before = self._told.get(machine.name, _RESUMED)
        self._told[machine.name] = told
        if told != before:
            self._changed_ms[machine.name] = self._sim.now_ms
            if told.paused:
                self._sim.call_later(_TOLERANCE_MS, self._check_frozen, machine, told)
            elif before.paused:
                delay_ms = 2 * _TOLERANCE_MS
                self._sim.call_later(delay_ms, self._check_thawed, machine, told, is_by_itself)

    def _check_frozen(self, machine: ObservedMachine, told: m.Control) -> None:
        """Check again and again that no program runs while a machine is paused."""
        if self._told[machine.name] != told:
            return
        self._sim.call_later(10 * _TOLERANCE_MS, self._check_frozen, machine, told)
        if machine.supervised_ms < _TOLERANCE_MS:
            return
        for program in self._programs(machine):
            if not (program.is_frozen or program.is_terminating):
                self._report(f"{program.key} runs on {machine.name}, which is paused")

    def _check_thawed(self, machine: ObservedMachine, told: m.Control, is_by_itself: bool) -> None:
        """Check that no program stays frozen after a pause. The reaper ends it without an agent."""
        if self._told[machine.name] != told:
            return
        if not is_by_itself and machine.supervised_ms < 2 * _TOLERANCE_MS:
            return
        for program in self._programs(machine):
            is_held = program.key in self._frozen_for_user
            if program.is_frozen and not is_held and not self._hours.may_freeze(machine, program):
                self._report(f"{program.key} is frozen on {machine.name}, which is not paused")

    def _programs(self, machine: ObservedMachine) -> list[Program]:
        return [
            each
            for where, each in self._running.values()
            if where is machine and each.orphaned_ms is None
        ]

    def _report(self, text: str) -> None:
        self._sim.report_violation("CONTROL", text)
