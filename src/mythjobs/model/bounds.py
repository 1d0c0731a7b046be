"""Limits set by command author, machine owner and submitter, and the tightest of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from mythjobs.model.limits import Limits

# I/O classes (ioprio_set(2)) from highest to lowest priority; "" leaves the kernel's default.
IO_CLASSES: Final = ("", *(f"best-effort:{level}" for level in range(8)), "idle")
DEFAULT_GRACE_S: Final = Limits().grace_s


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits and priority that one party sets for a job; None: this party sets no limit."""

    wall_s: float | None = None
    cpu_s: float | None = None
    idle_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None
    processes: int | None = None
    grace_s: float | None = None
    nice: int | None = None
    io: str | None = None

    def limits(self) -> Limits:
        return Limits(
            self.wall_s,
            self.cpu_s,
            self.idle_s,
            self.memory_bytes,
            self.output_bytes,
            self.processes,
            DEFAULT_GRACE_S if self.grace_s is None else self.grace_s,
        )


NO_BOUNDS: Final = Bounds()

# Limits on the whole process tree; enforcing them needs a cgroup controller or sampling.
TREE_LIMITS: Final = ("cpu", "idle", "memory", "processes")


def names_of_set_bounds(bounds: Bounds) -> frozenset[str]:
    """Return the names of the limits that are set, as written in TOML: `wall`, `memory`, …"""
    return frozenset(
        each.name.removesuffix("_s").removesuffix("_bytes")
        for each in fields(Bounds)
        if getattr(bounds, each.name) is not None
    )


def tightest(*parties: Bounds) -> Bounds:
    """Return the smallest value that a party sets for each limit, and the lowest priority."""
    values: dict[str, object] = {}
    for each in fields(Bounds):
        given = [getattr(party, each.name) for party in parties]
        given = [value for value in given if value is not None]
        if not given:
            continue
        if each.name == "nice":
            values["nice"] = max(given)
        elif each.name == "io":
            values["io"] = max(given, key=IO_CLASSES.index)
        else:
            values[each.name] = min(given)
    return Bounds(**values)  # type: ignore[arg-type]
