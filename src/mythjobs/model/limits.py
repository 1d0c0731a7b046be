"""What a job may use, and what it used. Seconds are float, sizes are bytes; None is no limit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most an attempt may use, of its whole process tree.

    `wall_s` runs on CLOCK_MONOTONIC from the moment the process exists, so neither a
    stepped wall clock nor a suspended machine ends a job. `grace_s` is the time between
    TERM and KILL when a limit or a person ends it.
    """

    wall_s: float | None = None
    cpu_s: float | None = None
    idle_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None
    processes: int | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt used. `exact` is false where descendants may be missing from it.

    user_s, system_s: CPU of the leader and of every descendant that was waited for
    (wait4, getrusage(2)). peak_bytes: largest resident set of one of them. read_bytes and
    written_bytes: of block devices, 512-byte units of ru_inblock and ru_oublock. processes:
    the most of them at once that were counted (a short one may be missed), 0 if nobody did.
    frozen_s: how much of wall_s it was made to stand still.
    """

    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    peak_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    switches: int = 0
    processes: int = 0
    exact: bool = True
    frozen_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


_USAGE = frozenset(field.name for field in dataclasses.fields(Usage))


def usage_from_json(value: dict[str, object]) -> Usage:
    """Unknown fields are left out, missing ones take their default. Raises ValueError."""
    known = {name: given for name, given in value.items() if name in _USAGE}
    if any(not isinstance(given, int | float) for given in known.values()):
        raise ValueError(f"not a usage: {value!r}")
    return Usage(**known)  # type: ignore[arg-type]
