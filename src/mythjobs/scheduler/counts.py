"""What runs, counted as ceilings ask for it. Leased counts as running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

Units = tuple[tuple[str, int], ...]


def taken(units: Units, freed: Collection[str], *, frozen: bool) -> Units:
    """What a live attempt takes of semaphores; `freed` are those that frozen ones give back.

    One that thaws takes its units again at once, even if that is more than there are: nothing
    else starts then until it fits.
    """
    if not frozen or not freed:
        return units
    return tuple(each for each in units if each[0] not in freed)


class Running(NamedTuple):
    """A live attempt: where, of what command, and the units that its class takes."""

    machine_id: int
    command_id: int
    semaphores: Units = ()


class Counts:
    """Live attempts by machine, by command, by both, and the units of each semaphore in use."""

    def __init__(self, running: Iterable[Running]) -> None:
        self.machine: Counter[int] = Counter()
        self.command: Counter[int] = Counter()
        self.both: Counter[tuple[int, int]] = Counter()
        self.units: Counter[str] = Counter()
        for each in running:
            self.add(each)

    def add(self, new: Running) -> None:
        self.machine[new.machine_id] += 1
        self.command[new.command_id] += 1
        self.both[new.machine_id, new.command_id] += 1
        for name, units in new.semaphores:
            self.units[name] += units
