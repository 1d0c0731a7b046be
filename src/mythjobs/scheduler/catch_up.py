"""Decisions about due ticks of a schedule: which are submitted, and what becomes of the others."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from mythjobs.model.schedule import Between, Schedule
from mythjobs.model.tick import GAP_SENTENCES, GapCause, TickOutcome
from mythjobs.scheduler.ticks import Tick

# A tick that is evaluated later than this is missed, as when the master was not running.
ON_TIME_MS: Final = 60_000
# Differences of clocks that are smaller than this are no suspend and no set clock.
_MIN_STEP_MS: Final = 5_000
_MIN_LATE_MS: Final = 60_000
_MAX_LATE_MS: Final = 3_600_000


class TickDecision(NamedTuple):
    """Decision on one due tick. outcome: None if its job is to be submitted; else with a reason.

    is_catch_up: the tick is submitted although it was missed.
    """

    tick: Tick
    outcome: TickOutcome | None
    reason: str = ""
    is_catch_up: bool = False


def decide_due(
    schedule: Schedule, due: Sequence[Tick], now_ms: int, cause: GapCause
) -> list[TickDecision]:
    """Decide on due ticks, in order. The schedule is not paused.

    cause: why missed ticks were missed.
    """
    running = [each for each in due if each.runs]
    on_time = running[-1] if running and _is_on_time(running[-1], now_ms) else None
    missed = [each for each in running if each is not on_time]
    caught_up: list[Tick] = []
    if schedule.catch_up == "all":
        caught_up = missed[-schedule.at_most :]
    elif schedule.catch_up == "last" and on_time is None:
        caught_up = missed[-1:]
    decisions = []
    for each in due:
        if not each.runs:
            decisions.append(TickDecision(each, TickOutcome.DST, each.note))
        elif each is on_time or each in caught_up:
            decisions.append(TickDecision(each, None, each.note, each is not on_time))
        else:
            decisions.append(TickDecision(each, TickOutcome.MISSED, GAP_SENTENCES[cause]))
    return decisions


def _is_on_time(tick: Tick, now_ms: int) -> bool:
    if tick.until_ms is not None:
        return now_ms < tick.until_ms
    return now_ms - tick.at_ms <= ON_TIME_MS


def find_gap_cause(late_ms: int, wall_ms: int, boot_ms: int, run_ms: int) -> GapCause:
    """Return why a tick was evaluated so late.

    wall_ms, boot_ms, run_ms: time that has passed on three clocks since the clocks were last
    compared: wall clock, CLOCK_BOOTTIME, CLOCK_MONOTONIC (which stops during suspend).
    """
    suspended_ms = max(0, boot_ms - run_ms)
    set_ms = wall_ms - max(boot_ms, run_ms)
    if set_ms > _MIN_STEP_MS and 2 * set_ms >= min(late_ms, wall_ms):
        return GapCause.CLOCK_SET
    if suspended_ms > _MIN_STEP_MS:
        return GapCause.SUSPENDED
    return GapCause.BUSY


def is_clock_set(wall_ms: int, run_ms: int) -> bool:
    """Return whether a clock was set, from the time that has passed on wall clock and monotonic
    clock. True also after a suspend."""
    return abs(wall_ms - run_ms) > _MIN_STEP_MS


def start_offset_ms(schedule: Schedule, tick: Tick) -> int:
    """Return how long after its tick a job is to start: the same for each evaluation.

    With `between` it leaves at least a minute of the hours.
    """
    most_ms = round(1000 * schedule.spread_s)
    if tick.until_ms is not None:
        most_ms = min(most_ms, max(0, tick.until_ms - tick.at_ms - _MIN_LATE_MS))
    share = zlib.crc32(f"{schedule.name}:{tick.at_ms}".encode()) / 2**32
    return int(most_ms * share)


def late_after_ms(schedule: Schedule, tick_ms: int, next_ms: int | None) -> int:
    """Return how long after its start time a job that has not started is late.

    next_ms: the tick after it. Without `late_after`: a quarter of the time to the next tick.
    """
    if schedule.late_after_s is not None:
        return round(1000 * schedule.late_after_s)
    if next_ms is None:
        return _MAX_LATE_MS
    return min(max((next_ms - tick_ms) // 4, _MIN_LATE_MS), _MAX_LATE_MS)


def latest_start_ms(schedule: Schedule, tick: Tick, start_ms: int) -> int | None:
    """Return the instant by which the job of a tick must have started, None for no such time.

    start_ms: the earliest start of the job; for a missed tick this is now.
    """
    if isinstance(schedule.when, Between):
        return tick.until_ms
    if schedule.start_within_s is None:
        return None
    return start_ms + round(1000 * schedule.start_within_s)
