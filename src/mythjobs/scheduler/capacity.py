"""Capacity of machines: slots, prefetched leases, and usage counts of running attempts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

# Prefetch: a machine gets more leases than it has free slots if, by learned durations, slots become
# free within this time. So no slot is idle for a round trip. Longer jobs are not prefetched.
PREFETCH_S: Final = 0.2
MAX_PREFETCH: Final = 256
_MIN_AUTOMATIC_SLOTS: Final = 64
_AUTOMATIC_SLOTS_PER_CORE: Final = 16
_ROUNDING: Final = 1e-9

Units = tuple[tuple[str, int], ...]  # (semaphore name, number of units)


def free_slots(ceiling: int, running: int) -> int:
    """Return how many more attempts a machine may run. Master and agent both use this rule."""
    return max(ceiling - running, 0)


def prefetch_limit(slots: int, typical_s: float) -> int:
    """Return how many unstarted attempts of a command a machine may hold beyond its slots.

    typical_s: the learned duration of one attempt, at most PREFETCH_S.
    """
    return min(math.ceil(slots * PREFETCH_S / max(typical_s, 0.0005)), MAX_PREFETCH)


def automatic_slots(cores: int) -> int:
    """Return the maximum number of jobs of a machine that scales automatically, if no user sets
    one. It suffices for jobs that mostly wait; the machine's measurements limit the others."""
    return max(_MIN_AUTOMATIC_SLOTS, _AUTOMATIC_SLOTS_PER_CORE * cores)


class ReportedRoom:
    """How many jobs fit a machine that scales automatically, by its own report, less the jobs that
    were leased to it since.

    fits: by command, number of jobs if no job of another command starts; `other` is that number for
    other commands. A leased job takes its share of the room: of four jobs that fit, a quarter. So
    jobs of several commands never exceed the room, and the next report says what is left.
    """

    def __init__(self, fits: Mapping[str, int], other: int, leased: Iterable[str] = ()) -> None:
        self._fits = fits
        self._other = other
        self._used = 0.0
        for command in leased:
            self.add(command)

    def has_room(self, command: str) -> bool:
        count = self._fits.get(command, self._other)
        return count > 0 and self._used + 1 / count <= 1 + _ROUNDING

    def add(self, command: str) -> None:
        self._used += 1 / max(self._fits.get(command, self._other), 1)


class MachineCapacity:
    """Decides whether a machine can take one more lease, by its slots and by learned durations.

    live: (learned duration or None, priority, whether started) of each attempt on the machine.
    room: for a machine that scales automatically.
    """

    def __init__(
        self,
        machine_id: int,
        slots: int,
        live: Iterable[tuple[float | None, int, bool]],
        room: ReportedRoom | None = None,
    ) -> None:
        self.machine_id = machine_id
        self._room = room
        self.slots = slots
        self.leased = 0
        self._long = 0  # leased attempts that are too long for prefetch, or of unknown duration
        self._unstarted: Counter[int] = Counter()  # leased attempts not yet started, by priority
        for each in live:
            self.add_live(*each)

    def add_live(
        self, typical_s: float | None, priority: int, is_started: bool, count: int = 1
    ) -> None:
        """Count attempts on the machine that have these properties in common."""
        self.leased += count
        if not is_short(typical_s):
            self._long += count
        if not is_started:
            self._unstarted[priority] += count

    @property
    def is_full(self) -> bool:
        """True if the machine can take no job, however short."""
        if self.leased < self.slots:
            return False
        return self.slots <= self._long or self.leased >= self.slots + 2 * MAX_PREFETCH

    def can_take(self, typical_s: float | None, priority: int) -> bool:
        """Return whether one more job can start at once or, by learned durations, in PREFETCH_S."""
        if self.leased < self.slots:
            return True
        if self.is_full:
            return False
        ahead = sum(count for other, count in self._unstarted.items() if other >= priority)
        if typical_s is None or typical_s > PREFETCH_S:
            return ahead == 0
        # Slots with a long job do not count: they become free too late for a prefetched job.
        return ahead < prefetch_limit(self.slots - self._long, typical_s)

    def has_room(self, command: str, typical_s: float | None) -> bool:
        """Return whether the machine's measurements permit one more job of a command. They do not
        limit jobs that are too short to be measured."""
        return self._room is None or is_short(typical_s) or self._room.has_room(command)

    def add(self, typical_s: float | None, priority: int, command: str = "") -> None:
        """Record a new lease of the machine."""
        if self._room is not None and not is_short(typical_s):
            self._room.add(command)
        self.leased += 1
        self._long += not is_short(typical_s)
        self._unstarted[priority] += 1

    @property
    def max_leases(self) -> int:
        return max(self.slots + MAX_PREFETCH - self.leased, 1)


def is_short(typical_s: float | None) -> bool:
    """Return whether jobs of this duration are prefetched."""
    return typical_s is not None and typical_s <= PREFETCH_S


def units_in_use(units: Units, freed_by_freeze: Collection[str], *, is_frozen: bool) -> Units:
    """Return the semaphore units that a live attempt uses.

    freed_by_freeze: semaphores whose units an attempt releases while frozen. When thawed it uses
    them again at once, even if that exceeds the semaphore's size; then no other job that needs
    the semaphore starts until enough units are free.
    """
    if not is_frozen or not freed_by_freeze:
        return units
    return tuple(each for each in units if each[0] not in freed_by_freeze)


class RunningAttempt(NamedTuple):
    """A leased or started attempt, with the semaphore units it uses."""

    machine_id: int
    command_id: int
    semaphores: Units = ()


class UsageCounts:
    """Counts of running attempts by machine and command, and semaphore units in use.

    Leased attempts count as running.
    """

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
