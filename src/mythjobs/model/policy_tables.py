"""The tables that definitions and owners share: limits, windows, retry, semaphores."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as r
from mythjobs.model.bounds import IO_CLASSES, Bounds
from mythjobs.model.weekly import parse_range
from mythjobs.model.window import CLOSINGS

BOUND_KEYS: Final = (
    "wall", "cpu", "idle", "memory", "output", "processes", "grace", "nice", "io",
)  # fmt: skip
BREACHES: Final = ("fail", "retry", "hold")

# Outcomes that can be a failure; ends by loss, window or operator never use up a retry.
FAILURES: Final = ("exited", "signalled", "breached", "not_started")
DEFAULT_BACKOFF_S: Final = 60.0

WORD: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
_MOST_RANGES: Final = 100
_MOST_UNITS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Windows:
    """Weekly ranges (none: always), and what closing does to a run ("": nothing said here)."""

    open: tuple[str, ...] = ()
    closing: str = ""
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """How many failed attempts are run again, after what time, and of which outcomes.

    `later` is a regular expression over the output: a failed attempt that matches is tried
    later, like exit code 75, and its whole command is put off meanwhile.
    """

    failures: int = 0
    backoff_s: float = DEFAULT_BACKOFF_S
    on: tuple[str, ...] = FAILURES
    later: str = ""


def read_bounds(value: object, key: str = "limits", extra: tuple[str, ...] = ()) -> Bounds:
    """The limits of a [limits] table; `extra` are keys of it that the caller reads."""
    given = r.table(value, key, 'wall = "6h"', (*BOUND_KEYS, *extra))
    prefix = f"{key}."
    io = r.one_of(given, "io", IO_CLASSES[1:], "", prefix)
    return Bounds(
        wall_s=r.duration(given, "wall", prefix),
        cpu_s=r.duration(given, "cpu", prefix),
        idle_s=r.duration(given, "idle", prefix, least_s=1),
        memory_bytes=r.size(given, "memory", prefix),
        output_bytes=r.size(given, "output", prefix),
        processes=r.whole(given, "processes", 1, 4_194_304, prefix),
        grace_s=r.duration(given, "grace", prefix),
        nice=r.whole(given, "nice", 0, 19, prefix),
        io=io or None,
    )


def read_windows(value: object, key: str = "windows") -> Windows:
    if isinstance(value, list):
        value = {"open": value}
    given = r.table(value, key, 'open = ["22:00-06:00"]', ("open", "closing", "grace"))
    prefix = f"{key}."
    ranges = r.words(given, "open", '["mon-fri 22:00-06:00"]', prefix)
    if "open" in given and not ranges:
        raise DefinitionError(f"{prefix}open", "is empty; leave it out for hours without an end")
    if len(ranges) > _MOST_RANGES:
        raise DefinitionError(f"{prefix}open", f"has more than {_MOST_RANGES} ranges")
    for each in ranges:
        try:
            parse_range(each)
        except ValueError as error:
            raise DefinitionError(f"{prefix}open", str(error)) from None
    closing, grace_s = read_closing(given, prefix)
    return Windows(ranges, closing, grace_s)


def read_closing(given: r.Table, prefix: str) -> tuple[str, float | None]:
    closing = r.one_of(given, "closing", CLOSINGS, "", prefix)
    grace_s = r.duration(given, "grace", prefix)
    if grace_s is not None and closing == "finish":
        raise DefinitionError(
            f"{prefix}grace",
            'closing = "finish" ends nothing, so there is no grace; take one of them away',
        )
    return closing, grace_s


def read_retry(value: object) -> Retry:
    given = r.table(value, "retry", "failures = 2", ("failures", "backoff", "on", "later"))
    failures = r.whole(given, "failures", 0, 1000, "retry.") or 0
    later = r.text(given, "later", prefix="retry.")
    on = r.words(given, "on", '["exited"]', "retry.")
    for each in on:
        if each not in FAILURES:
            raise DefinitionError("retry.on", f'"{each}" must be one of {", ".join(FAILURES)}')
    if not failures and "on" in given:
        raise DefinitionError("retry.on", "needs failures = N, how many are run again")
    if not failures and "backoff" in given and not later:
        raise DefinitionError("retry.backoff", "needs failures = N, or later = '…'")
    try:
        re.compile(later)
    except re.error as error:
        raise DefinitionError("retry.later", f"is not a regular expression: {error}") from None
    backoff_s = r.duration(given, "backoff", "retry.")
    return Retry(
        failures, DEFAULT_BACKOFF_S if backoff_s is None else backoff_s, on or FAILURES, later
    )


def read_semaphores(
    value: object, key: str = "semaphores", least: int = 1
) -> tuple[tuple[str, int], ...]:
    """Names and units, sorted. A job takes one unit at least; a semaphore may have none."""
    if not isinstance(value, dict):
        raise DefinitionError(key, "must be a table, like semaphores = { nas = 1 }")
    for name in value:
        if not WORD.fullmatch(name):
            raise DefinitionError(
                f"{key}.{name}", "is no name; write small letters and digits, joined by - _ or ."
            )
        r.whole(value, name, least, _MOST_UNITS, f"{key}.")
    return tuple(sorted(value.items()))


def read_labels(given: r.Table, prefix: str = "") -> tuple[str, ...]:
    labels = r.words(given, "labels", '["gpu"]', prefix)
    for each in labels:
        if not WORD.fullmatch(each):
            raise DefinitionError(
                f"{prefix}labels",
                f'"{each}" is no label; write small letters and digits, joined by - _ or .',
            )
    return tuple(sorted(labels))
