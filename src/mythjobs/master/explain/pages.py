"""What pages say that memory and store know only together: machines, semaphores, commands."""

from __future__ import annotations

from functools import cache
from typing import Any

from mythjobs.clock import Now
from mythjobs.master.asks import ask_of
from mythjobs.master.catalog import JobClass, read_class, read_command
from mythjobs.master.explain.job import machine_page, view_of
from mythjobs.master.handlers.machines import overrides_of, settings_of
from mythjobs.master.placement.running import running
from mythjobs.master.state import Memory
from mythjobs.model.bounds import FREE
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import CODES, waits_where
from mythjobs.scheduler.counts import Counts
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import commands
from mythjobs.store.writes.commands import ClassRow

# What only an act of a person changes.
_STANDING = {"no_machine", *(CODES[name] for name, _ in e.STANDING)}


def machine(tx: Transaction, memory: Memory, name: str, now: Now) -> dict[str, Any]:
    """A machine with all that its owner says of it. Raises NoSuchMachine."""
    found = memory.machine(name)
    return machine_page(found, now) | {
        "zone": found.owner.zone or found.zone,
        "settings": settings_of(found),
        "overrides": overrides_of(tx, memory, found, now.wall_ms),
    }


def semaphores(tx: Transaction, memory: Memory) -> dict[str, Any]:
    """Each with how much of it the jobs that run have taken."""
    units_of = cache(lambda class_id: read_class(tx, class_id).ask.semaphores)
    counts = Counts(running(memory, units_of))
    return {
        "semaphores": [
            {
                "name": name,
                "size": size,
                "used": counts.units[name],
                "free_when_frozen": name in memory.plan.freed,
            }
            for name, size in sorted(memory.plan.sizes.items())
        ]
    }


def nowhere(tx: Transaction, memory: Memory, name: str, now: Now) -> str:
    """Why no job of this command could ever start as things are now; "" if one could."""
    defined = commands.by_name(tx, name)
    if defined is None:
        return ""  # removed meanwhile
    command = read_command(defined.definition)
    row = ClassRow(0, defined.command_id, defined.revision_id, "", "", "", "", "", "")
    job_class = JobClass(
        0, defined.command_id, defined.revision_id, command, ask_of(row, command), FREE
    )
    for semaphore, units in command.semaphores:
        size = memory.plan.sizes.get(semaphore)
        if size is None:
            return (
                f"there is no semaphore {semaphore}; make it with `mythjobs semaphore set "
                f"{semaphore} N`"
            )
        if units > size:
            return (
                f"{name} takes {units} of semaphore {semaphore}, which has {size}; `mythjobs "
                f"semaphore set {semaphore} N` makes it larger"
            )
    view = view_of(tx, memory)
    places = view.places(job_class, now.wall_ms)
    code, sentence = waits_where(view.ask(job_class), places, now.wall_ms)
    never = code == CODES["window"] and all(
        moment.opening is not None and moment.opening.opens_ms is None for _, _, moment in places
    )
    return sentence if code in _STANDING or never else ""
