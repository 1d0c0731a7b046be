"""Durations, sizes and clock skew: parsing (`6h`, `2GiB`), exact and human-readable forms."""

from __future__ import annotations

import re
from typing import Final

# End of the year 9999 in ms since 1970: datetime has no later instants.
MAX_WALL_MS: Final = 253_402_300_799_999

# A hundred years: the sum of an instant and a duration is a valid instant.
MAX_DURATION_S: Final = 36_500 * 86_400.0
# Sizes are parsed as float, which is exact up to this one. JSON programs have the same limit.
_MAX_SIZE_BYTES: Final = 2**53

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGT]?i?B)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `1h30m`, `250ms`. Raises ValueError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f'"{text}" is not a duration; write it like "90s", "10m" or "1h30m"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > MAX_DURATION_S:
        raise ValueError(f'"{text[:50]}" is too long; the longest duration is 36500d')
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes of `2GiB`, `500 MB`. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2] not in _BYTES:
        raise ValueError(f'"{text}" is not a size; write it like "512MiB" or "2GiB"')
    count = float(found[1]) * _BYTES[found[2]]
    if count > _MAX_SIZE_BYTES:
        raise ValueError(f'"{text[:50]}" is too large; the largest size is 8192TiB')
    return round(count)


def format_duration(seconds: float | None) -> str | None:
    """Return a duration in the syntax of parse_duration, like `1h30m`; None for None."""
    if seconds is None:
        return None
    left = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(count: int | None) -> str | None:
    """Return an exact size in the syntax of parse_size, like `2GiB`, `1000B`; None for None."""
    if count is None:
        return None
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def humanize_duration(seconds: float) -> str:
    """Return a rounded duration for users, in at most two units: `1 h 8 min`, `3.2 s`, `40 ms`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, size, small, step in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            rest = whole % size // step
            return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")


def humanize_size(count: int) -> str:
    """Return a rounded size for users: `512 B`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


# Smallest difference of clocks that counts as skew. A smaller difference may merely be the transit
# time of the heartbeat by which it was measured.
_MIN_CLOCK_SKEW_MS: Final = 5000


def is_clock_skewed(clock_ms: int) -> bool:
    return abs(clock_ms) >= _MIN_CLOCK_SKEW_MS


def describe_clock_skew(clock_ms: int) -> str:
    """Return a clause like "its clock is 8.0 s behind the master's"; "" for less than 5 s.

    clock_ms: the machine's clock minus the master's.
    """
    if not is_clock_skewed(clock_ms):
        return ""
    way = "ahead of" if clock_ms > 0 else "behind"
    return f"its clock is {humanize_duration(abs(clock_ms) / 1000)} {way} the master's"
