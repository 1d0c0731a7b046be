"""Limits as several people set them for one run, and the tighter of two. None: nothing said."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from mythjobs.model.limits import Limits

# I/O classes from the least to the most polite; best-effort:4 is what a process has anyway.
IO_CLASSES: Final = ("", *(f"best-effort:{level}" for level in range(8)), "idle")
DEFAULT_GRACE_S: Final = Limits().grace_s


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one side (author, owner, submitter) allows a run at most, and how polite it must be."""

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


FREE: Final = Bounds()

# Kept of the whole process tree, for which a machine needs a controller or has to sample.
TREE: Final = ("cpu", "idle", "memory", "processes")


def said(bounds: Bounds) -> frozenset[str]:
    """The words, as a definition writes them, of what is bounded."""
    return frozenset(
        each.name.removesuffix("_s").removesuffix("_bytes")
        for each in fields(Bounds)
        if getattr(bounds, each.name) is not None
    )


def tighter(*sides: Bounds) -> Bounds:
    """The smallest of each limit that anybody set, and the most polite of nice and I/O class."""
    values: dict[str, object] = {}
    for each in fields(Bounds):
        given = [getattr(side, each.name) for side in sides]
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
