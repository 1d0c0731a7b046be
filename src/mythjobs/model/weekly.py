"""Weekly ranges as owners write them: `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00 at most 1`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from mythjobs.model.zone import WEEKDAYS

# How many jobs may run: 0 is closed, FULL is as many as there is room for.
CLOSED: Final = 0
FULL: Final = 2**31
_MOST: Final = 10_000

_RANGE: Final = re.compile(
    r"(?:(?P<days>[a-z][a-z,\- ]*?)\s+)?"
    r"(?P<start>\d{1,2}:\d{2})\s*-\s*(?P<end>\d{1,2}:\d{2})"
    r"(?:\s+(?P<level>.+))?"
)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})")
_DAY_MINUTES: Final = 24 * 60
_SHAPE: Final = 'write it like "mon-fri 22:00-06:00", "sat,sun 00:00-24:00 at most 1"'


class Range(NamedTuple):
    """On each of `days` (0 is Monday) from minute `start` for `minutes`, at this level."""

    days: frozenset[int]
    start: int
    minutes: int
    level: int


def parse_range(text: str) -> Range:
    """Raises ValueError with a sentence that names the piece that is wrong and the remedy."""
    found = _RANGE.fullmatch(" ".join(text.lower().split()))
    if found is None:
        raise ValueError(f'"{text}" is no range of hours; {_SHAPE}')
    start = _minute(found["start"], text)
    end = _minute(found["end"], text)
    if start == _DAY_MINUTES:
        raise ValueError(f'"{text}" begins at 24:00; write 00:00 and the day after')
    if start == end:
        raise ValueError(
            f'"{text}" starts and ends at {found["start"]}, which could mean never or always; '
            'write "00:00-24:00" for the whole day, or leave the range out for never'
        )
    minutes = end - start if end > start else end - start + _DAY_MINUTES
    return Range(_days(found["days"], text), start, minutes, _level(found["level"], text))


def _minute(piece: str, text: str) -> int:
    found = _TIME.fullmatch(piece)
    assert found is not None
    hour, minute = int(found[1]), int(found[2])
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        raise ValueError(f'"{piece}" in "{text}" is no time of day; write 00:00 to 24:00')
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
                    f'"{part.strip()}" in "{text}" is no day; write mon, tue, wed, thu, fri, sat, '
                    "sun, ranges like mon-fri, or none for every day"
                )
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days |= {(begin + i) % 7 for i in range((end - begin) % 7 + 1)}
    return frozenset(days)


def _level(piece: str | None, text: str) -> int:
    if piece is None or piece == "full":
        return FULL
    if piece == "off":
        return CLOSED
    found = re.fullmatch(r"at most (\d+)", piece)
    if found is None or not 0 < int(found[1]) <= _MOST:
        raise ValueError(
            f'"{piece}" in "{text}" is no level; write "at most 2", "off", or nothing for full'
        )
    return int(found[1])


@lru_cache(maxsize=1024)
def _parsed(texts: tuple[str, ...]) -> tuple[Range, ...]:
    return tuple(parse_range(each) for each in texts)


def parse_set(texts: Sequence[str]) -> tuple[Range, ...]:
    """The ranges of one set, in which the most generous counts and `off` takes away.

    Parsed once for each different set. Raises ValueError with a sentence.
    """
    return _parsed(tuple(texts))


def level_of(ranges: Sequence[Range], covering: Iterable[Range]) -> int:
    """The level of a set at an instant that these of its ranges cover.

    No range at all is always open, and so is what a set of nothing but `off` leaves.
    """
    levels = [each.level for each in covering]
    if CLOSED in levels:
        return CLOSED
    if levels:
        return max(levels)
    return FULL if all(each.level == CLOSED for each in ranges) else CLOSED
