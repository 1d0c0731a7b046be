"""Limit checker: no program runs longer than the wall limit that its machine was told last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.program import Key, Program
from tests.simulation.simulator import Simulator

if TYPE_CHECKING:
    from tests.simulation.safety_checker import ObservedMachine

# From the message at the agent to the signal of the reaper.
_TOLERANCE_MS: Final = 1000


class LimitChecker:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        # The limit (None: no limit) that a machine received last for an attempt, and when.
        self._limits: dict[tuple[str, Key], tuple[float | None, int]] = {}
        self._running: dict[Key, Program] = {}

    def on_limit(self, machine: ObservedMachine, key: Key, wall_s: float | None) -> None:
        """The machine received the wall limit of an attempt."""
        self._limits[machine.name, key] = wall_s, self._sim.now_ms
        if (program := self._running.get(key)) is not None:
            self._sim.count("limits changed while a program runs")
            self._schedule(machine, program)

    def told_wall_s(self, machine: ObservedMachine, key: Key) -> float | None:
        """Return the wall limit that a machine received last for an attempt."""
        return self._limits.get((machine.name, key), (None, 0))[0]

    def on_start(self, machine: ObservedMachine, program: Program) -> None:
        self._running[program.key] = program
        self._schedule(machine, program)

    def _schedule(self, machine: ObservedMachine, program: Program) -> None:
        wall_s, _ = self._limits.get((machine.name, program.key), (None, 0))
        if wall_s is not None:
            left_ms = self._max_ms(machine, wall_s) - program.active_ms()
            self._sim.call_later(max(left_ms, _TOLERANCE_MS), self._check, machine, program)

    def _max_ms(self, machine: ObservedMachine, wall_s: float) -> int:
        return machine.clock.to_simulated_ms(round(1000 * wall_s)) + _TOLERANCE_MS

    def _check(self, machine: ObservedMachine, program: Program) -> None:
        if program.has_exited:
            self._running.pop(program.key, None)
            return
        wall_s, changed_ms = self._limits[machine.name, program.key]
        if wall_s is None or program.is_terminating or program.orphaned_ms is not None:
            return
        is_unchanged = self._sim.now_ms - changed_ms >= _TOLERANCE_MS
        if program.active_ms() < self._max_ms(machine, wall_s) or not is_unchanged:
            self._schedule(machine, program)
        elif not program.is_frozen:
            text = f"{program.key} runs on {machine.name} for {program.active_ms()} ms"
            self._sim.report_violation("LIMIT", f"{text}; its wall limit is {wall_s} s")
