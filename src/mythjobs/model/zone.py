"""Local time of a zone to instants and back; the only file that knows of daylight saving."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Final

DAY_MS: Final = 86_400_000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_STEP: Final = dt.timedelta(milliseconds=1)


@lru_cache(maxsize=256)
def zone_of(name: str) -> dt.tzinfo:
    """The zone of an IANA name; "" is UTC. Raises ValueError with a sentence.

    The rules come from the system's tzdata, else from the Python package of that name; a
    machine may have neither, or have them older than the zone.
    """
    if name in ("", "UTC"):
        return dt.UTC
    # Here and not above: whoever only reads a definition starts without it.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f'"{name}" is no time zone known here; write one like "Europe/Berlin", and if that is '
            "right, install tzdata (the system's package, or `pip install tzdata`)"
        ) from None


def local(wall_ms: int, zone: str) -> dt.datetime:
    """The local time of an instant."""
    return (_EPOCH + wall_ms * _STEP).astimezone(zone_of(zone))


@lru_cache(maxsize=8192)
def instant_ms(day: dt.date, minute: int, zone: str) -> int:
    """The instant of a local time, `minute` counted from the midnight that begins `day`.

    A time that the clocks skip is the first instant after the gap; one that they show twice
    is the first of both. So every nominal time happens exactly once.
    """
    tz = zone_of(zone)
    naive = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute)
    there = naive.replace(tzinfo=tz)
    before, after = there.utcoffset(), there.replace(fold=1).utcoffset()
    at_ms = _utc_ms(there)
    if before is None or after is None or after <= before:
        return at_ms
    # In the gap (PEP 495): fold 0 uses the offset from before and lands after the change,
    # fold 1 lands before it; the change is the first second with the new offset.
    low, high = _utc_ms(there.replace(fold=1)) // 1000, at_ms // 1000
    while high - low > 1:
        middle = (low + high) // 2
        if local(middle * 1000, zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high * 1000


def _utc_ms(when: dt.datetime) -> int:
    return (when - _EPOCH) // _STEP


def say_when(at_ms: int, now_ms: int, zone: str) -> str:
    """An instant for a person there: `22:00` today, `mon 22:00` this week, else the date."""
    when, now = local(at_ms, zone), local(now_ms, zone)
    days = (when.date() - now.date()).days
    if days == 0:
        return f"{when:%H:%M}"
    if 0 < days < 7:
        return f"{WEEKDAYS[when.weekday()]} {when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"
