"""The witness of run windows: nothing starts outside its hours, and nothing runs on in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mythjobs.agent.core.lease_terms import hours_from_message
from mythjobs.model import window
from mythjobs.model.weekly import CLOSED
from mythjobs.model.window import Hours
from mythjobs.protocol import messages as m
from tests.simulation.program import Key, Program
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.witness import Seen

# By so much more than its grace something may outlast its hours.
_LATE_MS: Final = 2000
# An agent looks once a second whether the clock was set.
_LOOKS_MS: Final = 1500


class HoursWatch:
    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[tuple[str, Key], Hours | None] = {}
        # Since when (true) an agent that is there could know hours and clock as they are now.
        self._news_ms: dict[str, int] = {}
        self._runs: dict[Key, tuple[Seen, Program]] = {}
        # Machines whose reapers do not know how it is now.
        self._blind: set[str] = set()

    def told(self, machine: Seen, key: Key, hours: m.HoursSpec | None) -> None:
        """What its machine was told last."""
        place = machine.name, key
        said = hours_from_message(hours)
        if place in self._told and self._told[place] == said:
            return
        self._told[place] = said
        if key in self._runs:
            self._news(machine)

    def clock_set(self, machine: Seen) -> None:
        self._news(machine)

    def began(self, machine: Seen, program: Program) -> None:
        hours = self._told.get((machine.name, program.key))
        if hours is None:
            return
        self._runs[program.key] = machine, program
        recent_ms = self._world.now - self._news_ms.get(machine.name, -_LATE_MS)
        if recent_ms >= _LATE_MS and self._closed_for(machine, hours, _LATE_MS):
            self._world.broken("WINDOW", f"{machine.name} starts {program.key} outside its hours")
        self._plan(machine, program, hours)

    def _news(self, machine: Seen) -> None:
        self._news_ms[machine.name] = self._world.now
        self._world.after(_LOOKS_MS, self._did_it_hear, machine)
        for key, (where, program) in list(self._runs.items()):
            hours = self._told.get((where.name, key))
            if where is machine and hours is not None:
                self._look_at(self._world.now + self._patience_ms(hours), machine, program)

    def _did_it_hear(self, machine: Seen) -> None:
        # Without an agent its reapers go on by what they were told before.
        if machine.minded_ms < _LOOKS_MS:
            self._blind.add(machine.name)

    def _patience_ms(self, hours: Hours) -> int:
        # Clocks that run slow take longer for the same.
        grace_ms = 0 if hours.closing == "freeze" else round(hours.grace_s * 1120)
        return grace_ms + _LATE_MS + _LOOKS_MS

    def _plan(self, machine: Seen, program: Program, hours: Hours) -> None:
        """Looks again after its hours close the next time."""
        wall_ms = machine.clock.wall()
        sets, zone, over = hours.sets, hours.zone, hours.overrides
        opens_ms = window.next_open_ms(sets, zone, wall_ms, over)
        closes_ms = None if opens_ms is None else window.next_close_ms(sets, zone, opens_ms, over)
        if closes_ms is not None:
            at_ms = machine.clock.when_wall(closes_ms)
            self._look_at(at_ms + self._patience_ms(hours), machine, program)

    def _look_at(self, at_ms: int, machine: Seen, program: Program) -> None:
        self._world.at(at_ms, self._look, machine, program)

    def _look(self, machine: Seen, program: Program) -> None:
        key = program.key
        if program.over:
            self._runs.pop(key, None)
            return
        hours = self._told.get((machine.name, key))
        if hours is None or hours.closing == "finish":
            return
        patience_ms = self._patience_ms(hours)
        since_ms = self._world.now - self._news_ms.get(machine.name, -patience_ms)
        if machine.minded_ms >= patience_ms:
            self._blind.discard(machine.name)
        if self._closed_for(machine, hours, patience_ms) and since_ms >= patience_ms:
            stands = program.frozen if hours.closing == "freeze" else program.ending
            if not stands and self._is_excused(machine, program):
                self._look_at(self._world.now + patience_ms, machine, program)
                return
            if not (stands or program.ending):
                said = f"{program.key} runs on outside its hours on {machine.name}"
                self._world.broken("WINDOW", said)
        self._plan(machine, program, hours)

    def _is_excused(self, machine: Seen, program: Program) -> bool:
        return machine.name in self._blind or program.orphaned_ms is not None

    def _closed_for(self, machine: Seen, hours: Hours, ms: int) -> bool:
        """Whether they were closed all this time, by the machine's clock as it stands."""
        wall_ms = machine.clock.wall()
        levels = window.changes(hours.sets, hours.zone, wall_ms - ms, wall_ms, hours.overrides)
        return all(level == CLOSED for _, level in levels)
