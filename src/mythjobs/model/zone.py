"""Conversion between instants and local time. The only file that handles daylight saving."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Final

DAY_MS: Final = 86_400_000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_STEP: Final = dt.timedelta(milliseconds=1)


@lru_cache(maxsize=256)
def load_zone(name: str) -> dt.tzinfo:
    """Return the time zone with an IANA name; "" is UTC. Raises ValueError if it is unknown.

    Zones come from the system's tzdata or from the Python package tzdata. A machine may have
    neither, or a version that lacks the zone.
    """
    if name in ("", "UTC"):
        return dt.UTC
    # Import zoneinfo only when needed: parsing a command definition does not need it.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f'time zone "{name}" is not known on this machine; use a name like "Europe/Berlin", or '
            "install tzdata (the system's package, or `pip install tzdata`)"
        ) from None


def to_local(wall_ms: int, zone: str) -> dt.datetime:
    """Return the local time of an instant (ms since 1970)."""
    return (_EPOCH + wall_ms * _STEP).astimezone(load_zone(zone))


@lru_cache(maxsize=8192)
def instant_ms(day: dt.date, minute: int, zone: str) -> int:
    """Return the instant of a local time; `minute` counts from the midnight that begins `day`.

    A time that daylight saving skips becomes the first instant after the gap; of a time that
    occurs twice the first is meant. So every local time has exactly one instant.
    """
    tz = load_zone(zone)
    naive = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute)
    there = naive.replace(tzinfo=tz)
    before, after = there.utcoffset(), there.replace(fold=1).utcoffset()
    at_ms = _utc_ms(there)
    if before is None or after is None or after <= before:
        return at_ms
    # The time is in a gap of daylight saving (PEP 495): fold=0 gives an instant after the change
    # of offset, fold=1 one before it. Search between them for the first second after the change.
    low, high = _utc_ms(there.replace(fold=1)) // 1000, at_ms // 1000
    while high - low > 1:
        middle = (low + high) // 2
        if to_local(middle * 1000, zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high * 1000


def _utc_ms(when: dt.datetime) -> int:
    return (when - _EPOCH) // _STEP


def format_local_time(at_ms: int, now_ms: int, zone: str) -> str:
    """Return `22:00` for today, `mon 22:00` for the next days, else `2026-12-01 22:00`."""
    when, now = to_local(at_ms, zone), to_local(now_ms, zone)
    days = (when.date() - now.date()).days
    if days == 0:
        return f"{when:%H:%M}"
    if 0 < days < 7:
        return f"{WEEKDAYS[when.weekday()]} {when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"
