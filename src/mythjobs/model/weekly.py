"""Parser of weekly ranges: `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00 at most 1`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from mythjobs.model.zone import WEEKDAYS

# A level is the number of jobs that may run at once: CLOSED is none, FULL as many as the machine
# has slots for.
CLOSED: Final = 0
FULL: Final = 2**31
_MAX_JOBS: Final = 10_000

_RANGE: Final = re.compile(
    r"(?:(?P<days>[a-z][a-z,\- ]*?)\s+)?"
    r"(?P<start>\d{1,2}:\d{2})\s*-\s*(?P<end>\d{1,2}:\d{2})"
    r"(?:\s+(?P<level>.+))?",
    re.ASCII,
)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)
_DAY_MINUTES: Final = 24 * 60
_SYNTAX: Final = 'write it like "02:00-05:00" or "mon-fri 22:00-06:00"'


class Range(NamedTuple):
    """Weekly time range: begins on each of `days` (0 is Monday) at minute `start` of the day, and
    lasts `minutes`. At most `level` jobs may run during it."""

    days: frozenset[int]
    start: int
    minutes: int
    level: int


def parse_range(text: str) -> Range:
    """Parse a range like `mon-fri 22:00-06:00`. Raises ValueError with the remedy."""
    found = _RANGE.fullmatch(" ".join(text.lower().split()))
    if found is None:
        raise ValueError(f'"{text}" is not a range of hours; {_SYNTAX}')
    start = _minute(found["start"], text)
    end = _minute(found["end"], text)
    if start == _DAY_MINUTES:
        raise ValueError(f'"{text}" begins at 24:00; write 00:00 of the next day')
    if start == end:
        raise ValueError(
            f'"{text}" starts and ends at {found["start"]}, which could mean never or always; '
            'write "00:00-24:00" for the whole day, or remove the range for never'
        )
    minutes = end - start if end > start else end - start + _DAY_MINUTES
    return Range(_days(found["days"], text), start, minutes, _level(found["level"], text))


def _minute(piece: str, text: str) -> int:
    found = _TIME.fullmatch(piece)
    assert found is not None
    hour, minute = int(found[1]), int(found[2])
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        raise ValueError(f'"{piece}" in "{text}" is not a time of day; write 00:00 to 24:00')
    return 60 * hour + minute


def _days(piece: str | None, text: str) -> frozenset[int]:
    if piece is None or piece == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in piece.split(","):
        first, _, last = (each.strip() for each in part.partition("-"))
        for name in (first, last or first):
            if name not in WEEKDAYS:
                raise ValueError(
                    f'"{part.strip()}" in "{text}" is not a day; write mon, tue, wed, thu, fri, '
                    "sat, sun, ranges like mon-fri, or none for every day"
                )
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days |= {(begin + i) % 7 for i in range((end - begin) % 7 + 1)}
    return frozenset(days)


def _level(piece: str | None, text: str) -> int:
    if piece is None or piece == "full":
        return FULL
    if piece == "off":
        return CLOSED
    found = re.fullmatch(r"at most (\d+)", piece, re.ASCII)
    if found is None or not 0 < int(found[1]) <= _MAX_JOBS:
        raise ValueError(
            f'"{piece}" in "{text}" is not a level; write "at most 2", "off", or nothing for full'
        )
    return int(found[1])


@lru_cache(maxsize=1024)
def _parsed(texts: tuple[str, ...]) -> tuple[Range, ...]:
    return tuple(parse_range(each) for each in texts)


def parse_ranges(texts: Sequence[str]) -> tuple[Range, ...]:
    """Parse several ranges; results are cached. Raises ValueError for an invalid one."""
    return _parsed(tuple(texts))


def combine_levels(ranges: Sequence[Range], covering: Iterable[Range]) -> int:
    """Return the level of `ranges`, as a set, at an instant.

    covering: the ranges that include the instant. The set has their highest level, or is
    closed if one of them is `off`. Outside all ranges the set is closed, unless it is empty or
    has only `off` ranges.
    """
    levels = [each.level for each in covering]
    if CLOSED in levels:
        return CLOSED
    if levels:
        return max(levels)
    return FULL if all(each.level == CLOSED for each in ranges) else CLOSED
