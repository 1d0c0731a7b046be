"""Time spans of systemd.time(7): `5h 30min`, `2d`, `90`."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    **dict.fromkeys(("usec", "us", "μs", "µs"), 1e-6),
    **dict.fromkeys(("msec", "ms"), 1e-3),
    **dict.fromkeys(("seconds", "second", "sec", "s", ""), 1.0),
    **dict.fromkeys(("minutes", "minute", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hr", "h"), 3600.0),
    **dict.fromkeys(("days", "day", "d"), 86400.0),
    **dict.fromkeys(("weeks", "week", "w"), 604800.0),
    # 30.44 and 365.25 days, as systemd defines them.
    **dict.fromkeys(("months", "month", "M"), 2629800.0),
    **dict.fromkeys(("years", "year", "y"), 31557600.0),
}
# A point is followed by digits, and no number by a second point.
_PART: Final = re.compile(r"\s*\+?([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?![0-9.])\s*([a-zA-Zμµ]*)\s*")


def parse_time_span(text: str) -> float:
    """Return the seconds; infinity for `infinity`. Raises ValueError."""
    if text.strip() == "infinity":
        return float("inf")
    at, seconds = 0, 0.0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or found[2] not in _UNITS:
            raise ValueError(f'"{text}" is not a time span like 5h 30min')
        seconds += float(found[1]) * _UNITS[found[2]]
        at = found.end()
    if not text.strip():
        raise ValueError("the time span is empty")
    return seconds
