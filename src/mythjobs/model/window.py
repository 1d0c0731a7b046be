"""Whether hours are open at an instant, and when that changes: the one window test of all."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from mythjobs.model.weekly import CLOSED, FULL, Range, level_of, parse_set
from mythjobs.model.zone import DAY_MS, instant_ms, local

Sets = Sequence[Sequence[str]]
Overrides = Sequence[tuple[str, int]]

ALLOW: Final = "allow"
PAUSE: Final = "pause"
CLOSINGS: Final = ("finish", "freeze", "requeue", "terminate")

# Hours repeat weekly; a range that a change of the clocks skips is there again a week later,
# so what does not change within three weeks never does.
_HORIZONS_MS: Final = (2 * DAY_MS, 8 * DAY_MS, 22 * DAY_MS)


class HoursLike(Protocol):
    """What decides when an attempt may run on a machine (`protocol.messages.Hours` is one).

    sets: the command's ranges, the machine's, and those of the command on this machine, in
    that order, as their authors wrote them. All must be open; an empty one always is.
    overrides: `allow` or `pause` with the wall instant at which it ends.
    """

    @property
    def sets(self) -> Sequence[Sequence[str]]: ...
    @property
    def zone(self) -> str: ...
    @property
    def closing(self) -> str: ...
    @property
    def grace_s(self) -> float: ...
    @property
    def overrides(self) -> Sequence[tuple[str, int]]: ...


class Hours(NamedTuple):
    """Hours as the master and the scheduler hold them."""

    sets: tuple[tuple[str, ...], ...] = ((), (), ())
    zone: str = ""
    closing: str = "finish"
    grace_s: float = 10.0
    overrides: tuple[tuple[str, int], ...] = ()

    @property
    def must_fit(self) -> bool:
        """Whether a job that is likely to outlast them must not begin: it would lose its work. One
        that may finish, or goes on when they open again, need not fit."""
        return self.closing not in ("finish", "freeze")


class _Span(NamedTuple):
    start_ms: int
    end_ms: int
    range: Range


def _spans(ranges: Sequence[Range], zone: str, from_ms: int, to_ms: int) -> list[_Span]:
    """Every occurrence that touches [from_ms, to_ms]."""
    # A day before for ranges past midnight, and one on either side because a zone may skip one.
    day = local(from_ms, zone).date() - dt.timedelta(days=2)
    last = local(to_ms, zone).date() + dt.timedelta(days=1)
    found = []
    while day <= last:
        weekday = day.weekday()
        for each in ranges:
            if weekday in each.days:
                start = instant_ms(day, each.start, zone)
                end = instant_ms(day, each.start + each.minutes, zone)
                if start < end and end >= from_ms and start <= to_ms:
                    found.append(_Span(start, end, each))
        day += dt.timedelta(days=1)
    return found


class _Spans:
    """Those of one set, found by the instant: of many hours only the few near it are looked at."""

    def __init__(self, spans: list[_Span]) -> None:
        self.all = sorted(spans, key=lambda each: each.start_ms)
        self._starts = [each.start_ms for each in self.all]
        self._longest_ms = max((each.end_ms - each.start_ms for each in spans), default=0)

    def covering(self, at_ms: int) -> list[Range]:
        first = bisect_right(self._starts, at_ms - self._longest_ms)
        last = bisect_right(self._starts, at_ms)
        return [each.range for each in self.all[first:last] if at_ms < each.end_ms]


class _Timeline:
    """The level of hours at every instant of [from_ms, to_ms]."""

    def __init__(
        self, sets: Sets, zone: str, overrides: Overrides, from_ms: int, to_ms: int
    ) -> None:
        self._sets = [
            (ranges, _Spans(_spans(ranges, zone, from_ms, to_ms)))
            for ranges in (parse_set(each) for each in sets if each)
        ]
        self._overrides = overrides
        edges = {until_ms for _, until_ms in overrides}
        for _, spans in self._sets:
            edges.update(each.start_ms for each in spans.all)
            edges.update(each.end_ms for each in spans.all)
        self._edges = sorted(each for each in edges if from_ms < each <= to_ms)
        self._from_ms = from_ms

    def level(self, at_ms: int) -> int:
        kinds = {kind for kind, until_ms in self._overrides if at_ms < until_ms}
        if PAUSE in kinds:
            return CLOSED
        if ALLOW in kinds:
            return FULL
        level = FULL
        for ranges, spans in self._sets:
            level = min(level, level_of(ranges, spans.covering(at_ms)))
        return level

    def changes(self) -> Iterator[tuple[int, int]]:
        """(instant, level), first the one at the beginning, then each that differs."""
        last = self.level(self._from_ms)
        yield self._from_ms, last
        for edge in self._edges:
            level = self.level(edge)
            if level != last:
                yield edge, level
                last = level


def level_at(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int:
    """How many jobs the hours let run at an instant: 0 is closed, FULL no bound.

    A range begins and ends when the clocks there show it, so 22:00-06:00 is eight hours by
    the clock on the wall, and seven or nine in the nights in which clocks are changed. A pause
    stands above an allowance, and both above the hours. Raises ValueError for what is no
    range or zone.
    """
    return _Timeline(sets, zone, overrides, wall_ms, wall_ms).level(wall_ms)


def changes(
    sets: Sets, zone: str, wall_ms: int, until_ms: int, overrides: Overrides = ()
) -> list[tuple[int, int]]:
    """(instant, level) from `wall_ms`, with the level there, to `until_ms`, each one different."""
    return list(_Timeline(sets, zone, overrides, wall_ms, until_ms).changes())


def _first(
    sets: Sets,
    zone: str,
    wall_ms: int,
    overrides: Overrides,
    wanted: Literal["any", "open", "shut"],
) -> int | None:
    for horizon_ms in _HORIZONS_MS:
        line = _Timeline(sets, zone, overrides, wall_ms, wall_ms + horizon_ms)
        for number, (at_ms, level) in enumerate(line.changes()):
            if (number and wanted == "any") or (wanted == ("open" if level else "shut")):
                return at_ms
        if not any(sets) and not overrides:
            return None
    later = [until_ms for _, until_ms in overrides if until_ms > wall_ms + _HORIZONS_MS[-1]]
    return _first(sets, zone, min(later) - 1, overrides, wanted) if later else None


def next_change(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """The first instant after `wall_ms` with another level; None if it stays for ever."""
    return _first(sets, zone, wall_ms, overrides, "any")


def opens_ms(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """The first instant from `wall_ms` on at which anything may run; None if there is none."""
    return _first(sets, zone, wall_ms, overrides, "open")


def closes_ms(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """The first instant from `wall_ms` on at which nothing may run; None if there is none."""
    return _first(sets, zone, wall_ms, overrides, "shut")


def acts(
    hours: HoursLike, wall_ms: int, until_ms: int
) -> list[tuple[int, Literal["close", "open"]]]:
    """What a machine must do with a running attempt, and when, up to `until_ms`.

    The first stands at `wall_ms` and says how it is then, so that a job that runs, or was
    frozen, under other hours is put right at once. An attempt whose closing is `finish` needs
    none of them.
    """
    found: list[tuple[int, Literal["close", "open"]]] = []
    for at_ms, level in changes(hours.sets, hours.zone, wall_ms, until_ms, hours.overrides):
        act: Literal["close", "open"] = "open" if level else "close"
        if not found or found[-1][1] != act:
            found.append((at_ms, act))
    return found
