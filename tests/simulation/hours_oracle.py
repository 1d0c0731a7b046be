"""Hours oracle: an independent evaluation of run windows, for the checkers.

It shares no code with `model/window.py`, `model/weekly.py` and `model/zone.py`. They list the
occurrences of each range as instants. The oracle asks the opposite question: which local time does
an instant count as? That is the latest local time that clocks have shown so far. It stands still
while an hour is repeated, and jumps where an hour is skipped, so that every nominal time occurs
once.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from mythjobs.protocol.run_spec import HoursSpec

# Level of hours without a limit on the number of jobs.
UNLIMITED: Final = 10**9
MINUTE_MS: Final = 60_000

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# All changes of an offset are at multiples of this, and repeat less than _LOOK_BACK of them.
_QUARTER_MS: Final = 15 * MINUTE_MS
_LOOK_BACK: Final = 13


class ObservedHours(NamedTuple):
    """Hours of an attempt, as a message contained them."""

    sets: tuple[tuple[str, ...], ...]
    zone: str
    closing: str
    grace_s: float
    overrides: tuple[tuple[str, int], ...]

    @classmethod
    def from_message(cls, spec: HoursSpec | None) -> ObservedHours | None:
        if spec is None:
            return None
        sets = tuple(tuple(each) for each in spec.sets)
        overrides = tuple((kind, until_ms) for kind, until_ms in spec.overrides)
        return cls(sets, spec.zone, spec.closing, spec.grace_s, overrides)

    def levels(self, wall_ms: int) -> list[int]:
        """Return the level of each set at an instant."""
        kinds = {kind for kind, until_ms in self.overrides if wall_ms < until_ms}
        if "pause" in kinds:
            return [0 for _ in self.sets]
        if "allow" in kinds:
            return [UNLIMITED for _ in self.sets]
        return [_level(each, self.zone, wall_ms // MINUTE_MS) for each in self.sets]

    def is_open(self, wall_ms: int) -> bool:
        return 0 not in self.levels(wall_ms)

    def is_closed_throughout(self, from_ms: int, to_ms: int) -> bool:
        return not any(map(self.is_open, self._instants(from_ms, to_ms)))

    def is_constant(self, from_ms: int, to_ms: int) -> bool:
        first = self.levels(from_ms)
        return all(self.levels(each) == first for each in self._instants(from_ms, to_ms))

    def find_close_ms(self, from_ms: int, to_ms: int) -> int | None:
        """Return the first instant in [from_ms, to_ms] that is closed after an open one."""
        was_open = False
        for each in self._instants(from_ms, to_ms):
            if self.is_open(each):
                was_open = True
            elif was_open:
                return each
        return None

    def _instants(self, from_ms: int, to_ms: int) -> list[int]:
        """Return `from_ms` and all later instants at which a level can change."""
        minutes = range(from_ms // MINUTE_MS + 1, to_ms // MINUTE_MS + 1)
        ends = (until_ms for _, until_ms in self.overrides if from_ms < until_ms <= to_ms)
        return sorted({from_ms, *(each * MINUTE_MS for each in minutes), *ends})


@lru_cache(maxsize=200_000)
def _level(ranges: tuple[str, ...], zone: str, minute: int) -> int:
    """Return the level of one set of ranges during a minute since 1970."""
    if not ranges:
        return UNLIMITED
    local = _latest_local_time(zone, minute)
    today, yesterday = local.weekday(), (local.weekday() - 1) % 7
    now = 60 * local.hour + local.minute
    parsed = [_parse(each) for each in ranges]
    levels = [
        each.level
        for each in parsed
        if (today in each.days and each.first <= now < each.end)
        or (yesterday in each.days and now + 1440 < each.end)
    ]
    if 0 in levels:
        return 0
    if levels:
        return max(levels)
    return UNLIMITED if all(each.level == 0 for each in parsed) else 0


def _latest_local_time(zone: str, minute: int) -> dt.datetime:
    """Return the latest local time that was shown until the end of a minute."""
    quarter = minute * MINUTE_MS // _QUARTER_MS
    ends = [quarter * _QUARTER_MS - each * _QUARTER_MS - 1 for each in range(_LOOK_BACK)]
    return max(_local_time(zone, each) for each in (minute * MINUTE_MS, *ends))


@lru_cache(maxsize=200_000)
def _local_time(zone: str, wall_ms: int) -> dt.datetime:
    local = (_EPOCH + dt.timedelta(milliseconds=wall_ms)).astimezone(ZoneInfo(zone or "UTC"))
    return local.replace(tzinfo=None, fold=0)


class _Range(NamedTuple):
    """From minute `first` to before minute `end` of the days; an end above 1440 is tomorrow."""

    days: frozenset[int]
    first: int
    end: int
    level: int


@lru_cache(maxsize=1000)
def _parse(text: str) -> _Range:
    words = text.split()
    days = frozenset(range(7)) if words[0][0].isdigit() else _parse_days(words.pop(0))
    first, end = map(_parse_minute, words.pop(0).split("-"))
    level = {"": UNLIMITED, "off": 0}.get(" ".join(words))
    if level is None:
        level = int(words[-1])
    return _Range(days, first, end if end > first else end + 1440, level)


def _parse_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        day = _DAYS.index(first)
        days.add(day)
        while _DAYS[day] != (last or first):
            day = (day + 1) % 7
            days.add(day)
    return frozenset(days)


def _parse_minute(text: str) -> int:
    hour, minute = text.split(":")
    return 60 * int(hour) + int(minute)
