"""How much more a machine may run at once, by its ceiling; the one rule of master and agent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

# The master leases ahead what a machine will, by learned durations, start within this time,
# so that a slot never waits for a round trip; no more than MOST_PREFETCH, and nothing long.
PREFETCH_S: Final = 0.2
MAX_PREFETCH: Final = 256


def free_slots(ceiling: int, running: int) -> int:
    """How many more attempts may run now. `jobs` is the ceiling, `running` what runs."""
    return max(ceiling - running, 0)


def prefetch_limit(slots: int, typical_s: float | None) -> int:
    """How many unstarted attempts of a command a machine may hold beyond its room.

    typical_s: the learned duration of one; None while it is not learned.
    """
    if typical_s is None or typical_s > PREFETCH_S:
        return 0
    return min(math.ceil(slots * PREFETCH_S / max(typical_s, 0.0005)), MAX_PREFETCH)


Units = tuple[tuple[str, int], ...]


def units_in_use(units: Units, freed_by_freeze: Collection[str], *, frozen: bool) -> Units:
    """What a live attempt takes of semaphores; `freed` are those that frozen ones give back.

    One that thaws takes its units again at once, even if that is more than there are: nothing
    else starts then until it fits.
    """
    if not frozen or not freed_by_freeze:
        return units
    return tuple(each for each in units if each[0] not in freed_by_freeze)


class RunningAttempt(NamedTuple):
    """A live attempt: where, of what command, and the units that its class takes."""

    machine_id: int
    command_id: int
    semaphores: Units = ()


class UsageCounts:
    """Live attempts by machine, by command, by both, and the units of each semaphore in use."""

    def __init__(self, running: Iterable[RunningAttempt]) -> None:
        self.by_machine: Counter[int] = Counter()
        self.by_command: Counter[int] = Counter()
        self.by_machine_and_command: Counter[tuple[int, int]] = Counter()
        self.semaphore_units: Counter[str] = Counter()
        for each in running:
            self.add(each)

    def add(self, new: RunningAttempt) -> None:
        self.by_machine[new.machine_id] += 1
        self.by_command[new.command_id] += 1
        self.by_machine_and_command[new.machine_id, new.command_id] += 1
        for name, units in new.semaphores:
            self.semaphore_units[name] += units
