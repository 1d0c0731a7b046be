"""Live attempts as ceilings and semaphores count them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mythjobs.master.state import Memory
from mythjobs.scheduler.counts import Running, Units, taken


def running(memory: Memory, units_of: Callable[[int], Units]) -> Iterator[Running]:
    """`units_of` says what each job of a class takes of semaphores."""
    freed = memory.plan.freed
    for machine in memory.machines.values():
        for live in machine.live.values():
            units = taken(units_of(live.class_id), freed, frozen=machine.stands(live))
            yield Running(machine.machine_id, live.command_id, units)
