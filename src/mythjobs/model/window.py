"""Run windows: how many jobs may run at an instant (level), and when that number changes."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from mythjobs.model.weekly import CLOSED, FULL, Range, combine_levels, parse_ranges
from mythjobs.model.zone import DAY_MS, instant_ms, to_local

Sets = Sequence[Sequence[str]]
Overrides = Sequence[tuple[str, int]]

# Sets from this number on are of the machine's own policy: `allow` does not open them.
OWN_SET: Final = 3

ALLOW: Final = "allow"
PAUSE: Final = "pause"
CLOSING_POLICIES: Final = ("finish", "freeze", "requeue", "terminate")

# Spans searched, in this order, for the next change of level. Three weeks are enough: ranges are
# weekly, and a range that daylight saving skips recurs a week later.
_HORIZONS_MS: Final = (2 * DAY_MS, 8 * DAY_MS, 22 * DAY_MS)


class HoursLike(Protocol):
    """Run windows of an attempt; implemented by Hours and protocol.run_spec.HoursSpec.

    sets: weekly ranges of the command, of the machine, of the command on this machine, and
    possibly of the machine's own policy, as their authors wrote them. All sets must be open; an
    empty set is always open.
    overrides: (`allow` or `pause`, wall clock ms at which the override ends).
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
    """Run windows of an attempt, as master and scheduler keep them. HoursLike has the fields."""

    sets: tuple[tuple[str, ...], ...] = ((), (), ())
    zone: str = ""
    closing: str = "finish"
    grace_s: float = 10.0
    overrides: tuple[tuple[str, int], ...] = ()

    @property
    def must_fit(self) -> bool:
        """True if closing ends running jobs and loses their work: a job is then started only if it
        is expected to end before the windows close."""
        return self.closing not in ("finish", "freeze")


class _Occurrence(NamedTuple):
    start_ms: int
    end_ms: int
    range: Range


def _list_occurrences(
    ranges: Sequence[Range], zone: str, from_ms: int, to_ms: int
) -> list[_Occurrence]:
    """Return every occurrence of the weekly ranges that overlaps [from_ms, to_ms]."""
    # Search more days: one before for ranges that run past midnight, and one at each end because
    # a time zone may skip a calendar day.
    day = to_local(from_ms, zone).date() - dt.timedelta(days=2)
    last = to_local(to_ms, zone).date() + dt.timedelta(days=1)
    found = []
    while day <= last:
        weekday = day.weekday()
        for each in ranges:
            if weekday in each.days:
                start = instant_ms(day, each.start, zone)
                end = instant_ms(day, each.start + each.minutes, zone)
                if end > from_ms and start <= to_ms:
                    found.append(_Occurrence(start, end, each))
        day += dt.timedelta(days=1)
    return found


class _Occurrences:
    """Occurrences of one set of weekly ranges, indexed by time."""

    def __init__(self, spans: list[_Occurrence]) -> None:
        self.all = sorted(spans, key=lambda each: each.start_ms)
        self._starts = [each.start_ms for each in self.all]
        self._longest_ms = max((each.end_ms - each.start_ms for each in spans), default=0)

    def covering(self, at_ms: int) -> list[Range]:
        first = bisect_right(self._starts, at_ms - self._longest_ms)
        last = bisect_right(self._starts, at_ms)
        return [each.range for each in self.all[first:last] if at_ms < each.end_ms]


def _parse_sets(sets: Sets) -> Iterator[tuple[bool, Sequence[Range]]]:
    """Yield the sets that are not empty, and whether each is of the machine's own policy."""
    for number, each in enumerate(sets):
        if each:
            yield number >= OWN_SET, parse_ranges(each)


class _Timeline:
    """Level of run windows (number of jobs that may run) at every instant of [from_ms, to_ms]."""

    def __init__(
        self, sets: Sets, zone: str, overrides: Overrides, from_ms: int, to_ms: int
    ) -> None:
        self._sets = [
            (is_own, ranges, _Occurrences(_list_occurrences(ranges, zone, from_ms, to_ms)))
            for is_own, ranges in _parse_sets(sets)
        ]
        self._overrides = overrides
        edges = {until_ms for _, until_ms in overrides}
        for _, _, spans in self._sets:
            edges.update(each.start_ms for each in spans.all)
            edges.update(each.end_ms for each in spans.all)
        self._edges = sorted(each for each in edges if from_ms < each <= to_ms)
        self._from_ms = from_ms

    def level(self, at_ms: int) -> int:
        kinds = {kind for kind, until_ms in self._overrides if at_ms < until_ms}
        if PAUSE in kinds:
            return CLOSED
        level = FULL
        for is_own, ranges, spans in self._sets:
            if is_own or ALLOW not in kinds:
                level = min(level, combine_levels(ranges, spans.covering(at_ms)))
        return level

    def changes(self) -> Iterator[tuple[int, int]]:
        """Yield (instant, level): first the initial level, then each change."""
        last = self.level(self._from_ms)
        yield self._from_ms, last
        for edge in self._edges:
            level = self.level(edge)
            if level != last:
                yield edge, level
                last = level


def level_at(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int:
    """Return the number of jobs that may run at an instant: 0 is closed, FULL unlimited.

    Ranges follow local time, so 22:00-06:00 lasts seven or nine hours when daylight saving
    begins or ends. `pause` overrides `allow`, and both override the hours; `allow` does not
    override the machine's own policy. Raises ValueError for
    an invalid range or zone.
    """
    return _Timeline(sets, zone, overrides, wall_ms, wall_ms).level(wall_ms)


def changes(
    sets: Sets, zone: str, wall_ms: int, until_ms: int, overrides: Overrides = ()
) -> list[tuple[int, int]]:
    """Return (instant, level) at `wall_ms` and at each change of level up to `until_ms`."""
    return list(_Timeline(sets, zone, overrides, wall_ms, until_ms).changes())


def _find_first(
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
    return _find_first(sets, zone, min(later) - 1, overrides, wanted) if later else None


def next_change_ms(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """Return the first instant after `wall_ms` at which the level changes; None if never."""
    return _find_first(sets, zone, wall_ms, overrides, "any")


def next_open_ms(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """Return the first instant from `wall_ms` on at which jobs may run; None if never."""
    return _find_first(sets, zone, wall_ms, overrides, "open")


def next_close_ms(sets: Sets, zone: str, wall_ms: int, overrides: Overrides = ()) -> int | None:
    """Return the first instant from `wall_ms` on at which no job may run; None if never."""
    return _find_first(sets, zone, wall_ms, overrides, "shut")


def window_actions(
    hours: HoursLike, wall_ms: int, until_ms: int
) -> list[tuple[int, Literal["close", "open"]]]:
    """Return (instant, "open" or "close") for each change of an attempt's run windows.

    The first is the current state, at `wall_ms`: it corrects an attempt that still runs, or is
    still frozen, because of earlier run windows. Closing policy "finish" needs no actions.
    """
    found: list[tuple[int, Literal["close", "open"]]] = []
    for at_ms, level in changes(hours.sets, hours.zone, wall_ms, until_ms, hours.overrides):
        action: Literal["close", "open"] = "open" if level else "close"
        if not found or found[-1][1] != action:
            found.append((at_ms, action))
    return found
