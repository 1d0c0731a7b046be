"""Durations and sizes as people write them: `6h`, `90s`, `2GiB`; and back."""

from __future__ import annotations

import re
from typing import Final

# The end of the year 9999, in ms since 1970: later instants cannot be shown as dates.
LAST_MS: Final = 253_402_300_799_999

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
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGT]?i?B)")


def duration_s(text: str) -> float:
    """Seconds of `90s`, `1h30m`, `250ms`. Raises ValueError with a sentence."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f'"{text}" is not a duration; write it like "90s", "10m" or "1h30m"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def size_bytes(text: str) -> int:
    """Bytes of `2GiB`, `500 MB`. Raises ValueError with a sentence."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2] not in _BYTES:
        raise ValueError(f'"{text}" is not a size; write it like "512MiB" or "2GiB"')
    return int(float(found[1]) * _BYTES[found[2]])


def write_duration(seconds: float | None) -> str | None:
    """As `duration_s` reads it, to the millisecond: `1h30m`, `250ms`; None stays None."""
    if seconds is None:
        return None
    left = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def write_size(count: int | None) -> str | None:
    """As `size_bytes` reads it, exactly: `2GiB`, `1000B`; None stays None."""
    if count is None:
        return None
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def say_duration(seconds: float) -> str:
    """`1 h 8 min`, `3.2 s`, `40 ms`: at most two units."""
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


def say_size(count: int) -> str:
    """`512 B`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


# A heartbeat takes its time to arrive; a clock is said to differ only by at least this.
_CLOCK_MS: Final = 5000


def clock_differs(clock_ms: int) -> bool:
    """Whether a clock that is so far ahead of another (or behind) shows another time."""
    return abs(clock_ms) >= _CLOCK_MS


def clock_said(clock_ms: int) -> str:
    """What is to be told of a machine's clock that is so far ahead of the master's; "" while it
    shows the time, as far as can be known."""
    if not clock_differs(clock_ms):
        return ""
    way = "ahead of" if clock_ms > 0 else "behind"
    return f"its clock is {say_duration(abs(clock_ms) / 1000)} {way} the master's"
