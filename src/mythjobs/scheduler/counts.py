"""What runs, counted as ceilings ask for it. Leased counts as running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

Units = tuple[tuple[str, int], ...]


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
