"""TOML tables shared by definitions and machine policies: limits, windows, retry, semaphores.

Each function that reads one raises DefinitionError, which names the invalid key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.bounds import IO_CLASSES, Bounds
from mythjobs.model.names import NAME, NAME_SYNTAX, describe_invalid_label, is_label
from mythjobs.model.weekly import parse_range
from mythjobs.model.window import CLOSING_POLICIES

BOUND_KEYS: Final = (
    "wall", "cpu", "idle", "memory", "output", "processes", "grace", "nice", "io",
)  # fmt: skip
BREACH_ACTIONS: Final = ("fail", "retry", "hold")

# Outcomes that count as failures. Other outcomes (lost, stopped, window closed) use up no retry.
RETRYABLE_OUTCOMES: Final = ("exited", "signalled", "breached", "not_started")
DEFAULT_BACKOFF_S: Final = 60.0

_MAX_RANGES: Final = 100
_MAX_SEMAPHORE_UNITS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Windows:
    """Run windows: `open`, weekly ranges (none: always open), and `closing`, the policy for jobs
    that run when the windows close ("": not set)."""

    open: tuple[str, ...] = ()
    closing: str = ""
    grace_s: float | None = None


NO_WINDOWS: Final = Windows()


@dataclass(frozen=True, slots=True)
class Retry:
    """Number of retries after failures, their back-off, and the outcomes that are retried.

    later: regular expression. If the output of a failed attempt matches, the attempt is retried
    after the back-off, as after exit code 75 (EX_TEMPFAIL), and no job of the command starts
    before the back-off has passed.
    """

    failures: int = 0
    backoff_s: float = DEFAULT_BACKOFF_S
    on: tuple[str, ...] = RETRYABLE_OUTCOMES
    later: str = ""


def read_bounds(value: object, key: str = "limits", extra: tuple[str, ...] = ()) -> Bounds:
    """Parse a [limits] table. extra: other keys that the table may have; the caller reads them."""
    given = toml.read_table(value, key, 'wall = "6h"', (*BOUND_KEYS, *extra))
    prefix = f"{key}."
    io = toml.read_choice(given, "io", IO_CLASSES[1:], "", prefix)
    return Bounds(
        wall_s=toml.read_duration(given, "wall", prefix),
        cpu_s=toml.read_duration(given, "cpu", prefix),
        idle_s=toml.read_duration(given, "idle", prefix, least_s=1),
        memory_bytes=toml.read_size(given, "memory", prefix),
        output_bytes=toml.read_size(given, "output", prefix),
        processes=toml.read_int(given, "processes", 1, 4_194_304, prefix),
        grace_s=toml.read_duration(given, "grace", prefix),
        nice=toml.read_int(given, "nice", 0, 19, prefix),
        io=io or None,
    )


def read_windows(value: object, key: str = "windows") -> Windows:
    if isinstance(value, list):
        value = {"open": value}
    given = toml.read_table(value, key, 'open = ["22:00-06:00"]', ("open", "closing", "grace"))
    prefix = f"{key}."
    ranges = toml.read_strings(given, "open", '["mon-fri 22:00-06:00"]', prefix)
    if "open" in given and not ranges:
        raise DefinitionError(f"{prefix}open", "is empty; remove it for hours that are always open")
    if len(ranges) > _MAX_RANGES:
        raise DefinitionError(f"{prefix}open", f"has more than {_MAX_RANGES} ranges")
    for each in ranges:
        try:
            parse_range(each)
        except ValueError as error:
            raise DefinitionError(f"{prefix}open", str(error)) from None
    closing, grace_s = read_closing(given, prefix)
    return Windows(ranges, closing, grace_s)


def read_closing(given: toml.Table, prefix: str) -> tuple[str, float | None]:
    closing = toml.read_choice(given, "closing", CLOSING_POLICIES, "", prefix)
    grace_s = toml.read_duration(given, "grace", prefix)
    if grace_s is not None and closing == "finish":
        raise DefinitionError(
            f"{prefix}grace",
            'closing = "finish" ends no job, so a grace has no effect; remove one of them',
        )
    return closing, grace_s


def read_retry(value: object) -> Retry:
    given = toml.read_table(value, "retry", "failures = 2", ("failures", "backoff", "on", "later"))
    failures = toml.read_int(given, "failures", 0, 1000, "retry.") or 0
    later = toml.read_text(given, "later", prefix="retry.")
    on = toml.read_strings(given, "on", '["exited"]', "retry.")
    for each in on:
        if each not in RETRYABLE_OUTCOMES:
            raise DefinitionError(
                "retry.on", f'"{each}" must be one of {", ".join(RETRYABLE_OUTCOMES)}'
            )
    if not failures and "on" in given:
        raise DefinitionError("retry.on", "needs failures = N, the number of retries")
    if not failures and "backoff" in given and not later:
        raise DefinitionError("retry.backoff", "needs failures = N, or later = '…'")
    try:
        re.compile(later)
    except re.error as error:
        raise DefinitionError("retry.later", f"is not a regular expression: {error}") from None
    backoff_s = toml.read_duration(given, "backoff", "retry.")
    return Retry(
        failures,
        DEFAULT_BACKOFF_S if backoff_s is None else backoff_s,
        on or RETRYABLE_OUTCOMES,
        later,
    )


def read_semaphores(
    value: object, key: str = "semaphores", least: int = 1
) -> tuple[tuple[str, int], ...]:
    """Parse a table of semaphores. Return (name, units), sorted by name.

    least: smallest valid number of units: 1 where a job uses them, 0 for a semaphore's size.
    """
    if not isinstance(value, dict):
        raise DefinitionError(key, "must be a table, like semaphores = { nas = 1 }")
    for name in value:
        if not NAME.fullmatch(name):
            raise DefinitionError(f"{key}.{name}", f"is not a valid name; use {NAME_SYNTAX}")
        if toml.read_int(value, name, least, _MAX_SEMAPHORE_UNITS, f"{key}.") is None:
            # In a definition in JSON; TOML has no null.
            raise DefinitionError(f"{key}.{name}", "must not be null; give the number of units")
    return tuple(sorted(value.items()))


def read_labels(given: toml.Table, prefix: str = "", key: str = "labels") -> tuple[str, ...]:
    labels = toml.read_strings(given, key, '["gpu"]', prefix)
    for each in labels:
        if not is_label(each):
            raise DefinitionError(f"{prefix}{key}", describe_invalid_label(each))
    return tuple(sorted(set(labels)))
