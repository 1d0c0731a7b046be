"""Conversion between instants and local time in a named time zone, with daylight saving.

cli/times.py converts in the zone of the user's system, which has no name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

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
    # of offset, fold=1 one before it.
    before_ms = _utc_ms(there.replace(fold=1))
    return find_offset_change_ms(before_ms, at_ms, lambda wall_ms: to_local(wall_ms, zone))


def find_offset_change_ms(
    before_ms: int, after_ms: int, to_local_time: Callable[[int], dt.datetime]
) -> int:
    """Return the first full second after the one change of the UTC offset between two instants."""
    low, high = before_ms // 1000, after_ms // 1000
    before = to_local_time(before_ms).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if to_local_time(middle * 1000).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high * 1000


class LocalTime(NamedTuple):
    """Instants (ms since 1970) of a local time.

    first_ms: of a time that the clocks skip, the first instant after the gap. second_ms: the second
    instant of a time that occurs twice, else None.
    """

    first_ms: int
    second_ms: int | None = None
    is_skipped: bool = False


def resolve_local_time(naive: dt.datetime, zone: str) -> LocalTime:
    """Return the instants at which clocks in a zone show a local time (without a zone)."""
    there = naive.replace(tzinfo=load_zone(zone))
    before, after = there.utcoffset(), there.replace(fold=1).utcoffset()
    if before == after or before is None or after is None:
        return LocalTime(_utc_ms(there))
    if after < before:
        return LocalTime(_utc_ms(there), _utc_ms(there.replace(fold=1)))
    minute = 60 * naive.hour + naive.minute
    return LocalTime(instant_ms(naive.date(), minute, zone), is_skipped=True)


def overlap_ms(wall_ms: int, zone: str) -> int:
    """Return by how much the clocks were or will be set back, if they show the time of this instant
    twice; else 0."""
    there = to_local(wall_ms, zone)
    first, second = there.replace(fold=0).utcoffset(), there.replace(fold=1).utcoffset()
    if first is None or second is None or first <= second:
        return 0
    return (first - second) // _STEP


def _utc_ms(when: dt.datetime) -> int:
    return (when - _EPOCH) // _STEP


def format_zoned_time(at_ms: int, zone: str) -> str:
    """Return a local time with weekday and zone, like `Mon 2026-11-30 02:30 CET`."""
    at = to_local(at_ms, zone)
    seconds = f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"
    return f"{at:%a %Y-%m-%d} {seconds} {at:%Z}"


def format_local_time(at_ms: int, now_ms: int, zone: str) -> str:
    """Return `22:00` for today, `mon 22:00` for the next days, else `2026-12-01 22:00`."""
    when, now = to_local(at_ms, zone), to_local(now_ms, zone)
    days = (when.date() - now.date()).days
    if days == 0:
        return f"{when:%H:%M}"
    if 0 < days < 7:
        return f"{WEEKDAYS[when.weekday()]} {when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"
