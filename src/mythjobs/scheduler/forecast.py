"""Forecast of a job's start and end on a machine, from learned durations and opening hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from mythjobs.model.window import Hours, changes, next_close_ms
from mythjobs.model.zone import DAY_MS

_HORIZON_MS: Final = 22 * DAY_MS


class ExpectedTimes(NamedTuple):
    start_ms: int
    end_ms: int | None

    @property
    def order(self) -> tuple[int, float]:
        """Sort key: the earlier start first, then the earlier end; an unknown end is last."""
        return self.start_ms, math.inf if self.end_ms is None else self.end_ms


def forecast_times(
    now_ms: int,
    hours: Hours | None,
    slots_free_ms: Sequence[int],
    ahead_s: float,
    typical_s: float | None,
) -> ExpectedTimes | None:
    """Return when a job will start and end on a machine; None if that is unknown or never.

    slots_free_ms: when each slot of the machine becomes free. ahead_s: total duration of the jobs
    ahead, which run in all slots while the hours are open. typical_s: usual duration of the job.
    """
    if not slots_free_ms:
        return None
    left_ms = ahead_s * 1000
    windows = _list_windows(now_ms, hours)
    for number, (start, end, level) in enumerate(windows):
        free = sorted(max(start, each) for each in slots_free_ms)[:level]
        work = sum(max(0, end - each) for each in free)
        if work <= left_ms:
            left_ms -= work
            continue
        at = _find_work_end(free, left_ms)
        left_ms = 0
        if at >= end or not _fits(at, end, hours, typical_s):
            continue
        if typical_s is None:
            return ExpectedTimes(at, None)
        if hours is None or hours.closing != "freeze":
            return ExpectedTimes(at, round(at + 1000 * typical_s))
        return ExpectedTimes(at, _find_frozen_end(at, windows[number:], 1000 * typical_s))
    return None


def _find_frozen_end(
    at: int, windows: Sequence[tuple[int, int, int]], left_ms: float
) -> int | None:
    """Return the end of a job with `left_ms` of work that is frozen outside these windows.

    Return None if the job does not end by the end of the last window.
    """
    for begin, end, _ in windows:
        begin = max(begin, at)
        if left_ms <= end - begin:
            return round(begin + left_ms)
        left_ms -= end - begin
    return None


def _list_windows(now_ms: int, hours: Hours | None) -> list[tuple[int, int, int]]:
    """Return the periods from now on in which the hours are open, as (begin, end, level)."""
    if hours is None:
        return [(now_ms, now_ms + 100 * _HORIZON_MS, 2**31)]
    until_ms = now_ms + _HORIZON_MS
    marks = changes(hours.sets, hours.zone, now_ms, until_ms, hours.overrides)
    last = next_close_ms(hours.sets, hours.zone, marks[-1][0], hours.overrides)
    ends = [*(each for each, _ in marks[1:]), now_ms + 100 * _HORIZON_MS if last is None else last]
    return [(at, end, level) for (at, level), end in zip(marks, ends, strict=True) if level]


def _find_work_end(free: list[int], work_ms: float) -> int:
    """Return when slots that become free at the instants `free` have finished `work_ms` of work."""
    for number, at in enumerate(free, start=1):
        following = free[number] if number < len(free) else None
        if following is not None and (following - at) * number < work_ms:
            work_ms -= (following - at) * number
            continue
        return round(at + work_ms / number)
    raise AssertionError("no slot")


def _fits(at: int, end: int, hours: Hours | None, typical_s: float | None) -> bool:
    if hours is None or not hours.must_fit or typical_s is None:
        return True
    return at + 1000 * typical_s <= end
