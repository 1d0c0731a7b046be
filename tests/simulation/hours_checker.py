"""Checker of run windows: no start outside an attempt's hours, no run beyond their close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mythjobs.protocol.run_spec import HoursSpec
from tests.simulation.hours_oracle import ObservedHours
from tests.simulation.program import Key, Program
from tests.simulation.simulator import Simulator

if TYPE_CHECKING:
    from tests.simulation.safety_checker import ObservedMachine

# Tolerance after the close and the grace period.
_TOLERANCE_MS: Final = 2000
# An agent checks once a second whether the wall clock was stepped.
_CLOCK_CHECK_MS: Final = 1500
# How far ahead the next close is looked for. After that it is looked for again.
_HORIZON_MS: Final = 3 * 3_600_000


class HoursChecker:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        # Hours that a machine received last for an attempt.
        self._hours: dict[tuple[str, Key], ObservedHours | None] = {}
        # Simulated time of the last change of hours or wall clock of a machine.
        self._changed_ms: dict[str, int] = {}
        self._running: dict[Key, tuple[ObservedMachine, Program]] = {}
        # Machines whose reapers may have missed a change because no agent was running.
        self._uninformed: set[str] = set()

    def on_hours(self, machine: ObservedMachine, key: Key, spec: HoursSpec | None) -> None:
        """The machine received the hours of an attempt."""
        place = machine.name, key
        hours = ObservedHours.from_message(spec)
        if place not in self._hours:
            self._hours[place] = hours
        elif self._hours[place] != hours:
            # The attempt may be on its way to the reaper: it then starts after the change.
            self._hours[place] = hours
            self._on_change(machine)

    def on_clock_step(self, machine: ObservedMachine) -> None:
        self._on_change(machine)

    def on_start(self, machine: ObservedMachine, program: Program) -> None:
        hours = self._hours.get((machine.name, program.key))
        if hours is None:
            return
        self._running[program.key] = machine, program
        unchanged_ms = self._sim.now_ms - self._changed_ms.get(machine.name, -_TOLERANCE_MS)
        is_closed = unchanged_ms >= _TOLERANCE_MS and self._was_closed(
            machine, hours, _TOLERANCE_MS
        )
        if is_closed:
            text = f"{machine.name} starts {program.key} outside its hours"
            self._sim.report_violation("WINDOW", text)
        self._schedule_at_close(machine, program, hours)

    def find_steady_levels(self, machine: ObservedMachine, key: Key) -> list[int] | None:
        """Return the levels of an attempt's hours, if they have not changed just now."""
        hours = self._hours.get((machine.name, key))
        unchanged_ms = self._sim.now_ms - self._changed_ms.get(machine.name, -_TOLERANCE_MS)
        wall_ms = machine.clock.wall_ms()
        if hours is None or unchanged_ms < _TOLERANCE_MS:
            return None
        if not hours.is_constant(wall_ms - _TOLERANCE_MS, wall_ms):
            return None
        return hours.levels(wall_ms)

    def may_freeze(self, machine: ObservedMachine, program: Program) -> bool:
        """Return whether closed hours may have frozen a program."""
        hours = self._hours.get((machine.name, program.key))
        return hours is not None and hours.closing == "freeze"

    def told_hours(self, machine: ObservedMachine, key: Key) -> ObservedHours | None:
        """Return the hours that a machine received last for an attempt."""
        return self._hours.get((machine.name, key))

    def _on_change(self, machine: ObservedMachine) -> None:
        self._changed_ms[machine.name] = self._sim.now_ms
        self._sim.call_later(_CLOCK_CHECK_MS, self._check_informed, machine)
        for key, (where, program) in list(self._running.items()):
            hours = self._hours.get((where.name, key))
            if where is machine and hours is not None:
                delay_ms = self._max_delay_ms(hours)
                self._schedule(self._sim.now_ms + delay_ms, machine, program)

    def _check_informed(self, machine: ObservedMachine) -> None:
        # Without an agent, the reapers act on the hours that they received earlier.
        if machine.supervised_ms < _CLOCK_CHECK_MS:
            self._uninformed.add(machine.name)

    def _max_delay_ms(self, hours: ObservedHours) -> int:
        """Return the maximum time from close to freeze or termination, on the slowest clock."""
        grace_ms = 0 if hours.closing == "freeze" else round(hours.grace_s * 1120)
        return grace_ms + _TOLERANCE_MS + _CLOCK_CHECK_MS

    def _schedule_at_close(
        self, machine: ObservedMachine, program: Program, hours: ObservedHours
    ) -> None:
        """Schedule a check after the next close of the hours."""
        wall_ms = machine.clock.wall_ms()
        closes_ms = hours.find_close_ms(wall_ms, wall_ms + _HORIZON_MS)
        at_ms = machine.clock.time_of_wall(closes_ms or wall_ms + _HORIZON_MS)
        self._schedule(at_ms + self._max_delay_ms(hours), machine, program)

    def _schedule(self, at_ms: int, machine: ObservedMachine, program: Program) -> None:
        self._sim.call_at(at_ms, self._check, machine, program)

    def _check(self, machine: ObservedMachine, program: Program) -> None:
        key = program.key
        if program.has_exited:
            self._running.pop(key, None)
            return
        hours = self._hours.get((machine.name, key))
        if hours is None or hours.closing == "finish":
            return
        max_delay_ms = self._max_delay_ms(hours)
        unchanged_ms = self._sim.now_ms - self._changed_ms.get(machine.name, -max_delay_ms)
        if machine.supervised_ms >= max_delay_ms:
            self._uninformed.discard(machine.name)
        if self._was_closed(machine, hours, max_delay_ms) and unchanged_ms >= max_delay_ms:
            is_stopped = program.is_frozen if hours.closing == "freeze" else program.is_terminating
            if not is_stopped and self._is_excused(machine, program):
                self._schedule(self._sim.now_ms + max_delay_ms, machine, program)
                return
            if not (is_stopped or program.is_terminating):
                text = f"{program.key} runs on {machine.name} outside its hours"
                self._sim.report_violation("WINDOW", text)
        self._schedule_at_close(machine, program, hours)

    def _is_excused(self, machine: ObservedMachine, program: Program) -> bool:
        return machine.name in self._uninformed or program.orphaned_ms is not None

    def _was_closed(self, machine: ObservedMachine, hours: ObservedHours, duration_ms: int) -> bool:
        """Return whether the hours were closed for `duration_ms` until now, by the wall clock."""
        wall_ms = machine.clock.wall_ms()
        return hours.is_closed_throughout(wall_ms - duration_ms, wall_ms)
