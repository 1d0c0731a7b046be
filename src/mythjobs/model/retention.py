"""Retention: how much is kept of jobs that have ended, by age, number and size of output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mythjobs.model import toml_values as toml

KEY: Final = "retention"
FOREVER: Final = "forever"
UNLIMITED: Final = "unlimited"
_KEYS: Final = ("age", "jobs", "output")
_EXAMPLE: Final = 'age = "30d"'
MAX_JOBS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits on what is kept of ended jobs. Infinity is no limit; None: not set in this table.

    age_s: jobs that ended longer ago are deleted. jobs: number of ended jobs to keep for each
    command, the last ones. output_bytes: total size of output to keep; the oldest is deleted.
    """

    age_s: float | None = None
    jobs: float | None = None
    output_bytes: float | None = None


# Limits of a queue that sets none: 90 days, any number of jobs, 20 GB of output of all commands.
DEFAULT: Final = Retention(90 * 86_400.0, math.inf, 20 * 10**9)


def read_retention(value: object) -> Retention:
    """Parse a [retention] table. Raises DefinitionError, which names the invalid key."""
    table = toml.read_table(value, KEY, _EXAMPLE, _KEYS)
    prefix = f"{KEY}."
    return Retention(
        math.inf if table.get("age") == FOREVER else toml.read_duration(table, "age", prefix),
        math.inf
        if table.get("jobs") == UNLIMITED
        else toml.read_int(table, "jobs", 1, MAX_JOBS, prefix),
        math.inf if table.get("output") == UNLIMITED else toml.read_size(table, "output", prefix),
    )


def merge(own: Retention, default: Retention) -> Retention:
    """Return limits where those that are not set in `own` are taken from `default`."""
    return Retention(
        default.age_s if own.age_s is None else own.age_s,
        default.jobs if own.jobs is None else own.jobs,
        default.output_bytes if own.output_bytes is None else own.output_bytes,
    )


def oldest_kept_ms(limits: Retention, now_ms: int) -> int | None:
    """Return the wall clock time (ms): jobs that ended before are too old. None: no age limit."""
    if limits.age_s is None or math.isinf(limits.age_s):
        return None
    return max(0, now_ms - round(1000 * limits.age_s))


def find_excess(limit: float | None, found: int) -> int:
    """Return by how much a number of jobs or bytes exceeds a limit."""
    return 0 if limit is None or math.isinf(limit) else max(0, found - int(limit))


def limits_of_commands(queue: Retention, commands: Mapping[int, Retention]) -> dict[int, Retention]:
    """Return the limits of each command: its own, else the queue's.

    The queue's limit on output applies to all commands together, so a command does not inherit it.
    """
    default = Retention(queue.age_s, queue.jobs, math.inf)
    return {command_id: merge(own, default) for command_id, own in commands.items()}
