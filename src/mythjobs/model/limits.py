"""Resource limits and usage of an attempt. Seconds are float, sizes bytes; None is no limit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the whole process tree of an attempt.

    `wall_s` counts on CLOCK_MONOTONIC from the start of the process, so neither a stepped wall
    clock nor a suspended machine ends a job. `grace_s` is the time between SIGTERM and SIGKILL.
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
    """Resource usage of an attempt. `exact` is false if descendants may be missing.

    user_s, system_s: CPU time of the leader and of all descendants that were waited for
    (wait4, getrusage(2)). peak_bytes: largest resident set of one process. read_bytes and
    written_bytes: block device I/O, from the 512-byte units of ru_inblock and ru_oublock.
    processes: most processes seen at once (short-lived ones may be missed), 0 if not counted.
    frozen_s: the part of wall_s during which the tree was frozen.
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

    @property
    def active_s(self) -> float:
        """Run time in seconds without frozen time. A false report may have more of that."""
        return max(self.wall_s - self.frozen_s, 0.0)


_USAGE_FIELDS = frozenset(field.name for field in dataclasses.fields(Usage))


# Larger figures cannot be added up.
_MAX_FIGURE = 2**53
# The store has run times in microseconds, of 64 bits. 136 years.
_MAX_TIME_S = 2**32


def usage_from_json(value: dict[str, object]) -> Usage:
    """Parse usage. Unknown fields are ignored, missing ones get defaults, figures are clamped to
    [0, 2^53], times to [0, 2^32] seconds. Raises ValueError."""
    known = {name: given for name, given in value.items() if name in _USAGE_FIELDS}
    for name, given in known.items():
        if not isinstance(given, int | float) or given != given:
            raise ValueError(f"invalid usage: {value!r}")
        limit = _MAX_TIME_S if name.endswith("_s") else _MAX_FIGURE
        if not 0 <= given <= limit:
            known[name] = min(max(given, 0), limit)
    return Usage(**known)  # type: ignore[arg-type]
