"""State of run windows: levels, until when it is valid, and its cache."""

from __future__ import annotations

import pytest

from mythjobs.model.weekly import FULL
from mythjobs.model.window import ALLOW, PAUSE, Hours
from mythjobs.scheduler.window_state import WindowState, WindowStateCache, compute_window_state

NOON = 1_795_521_600_000  # Tuesday 2026-11-24, 12:00 UTC
HOUR_MS = 3_600_000
HOURS = Hours(
    (("10:00-20:00 at most 3",), ("00:00-18:00 at most 5",), ("08:00-14:00", "14:00-24:00 off"))
)


def test_a_state_has_the_level_of_each_set_and_the_next_changes() -> None:
    state = compute_window_state(HOURS, NOON)
    closes_ms, opens_ms = NOON + 2 * HOUR_MS, NOON
    assert state == WindowState(NOON, closes_ms, 3, 5, FULL, opens_ms, closes_ms)
    assert state.is_open
    # Closed by one set; the others still change before it opens again.
    later = compute_window_state(HOURS, NOON + 3 * HOUR_MS)
    at_ms = NOON + 3 * HOUR_MS
    assert later == WindowState(at_ms, NOON + 6 * HOUR_MS, 3, 5, 0, NOON + 22 * HOUR_MS, at_ms)
    assert not later.is_open


@pytest.mark.parametrize("closed", range(3))
def test_hours_are_closed_if_one_set_is_closed(closed: int) -> None:
    sets = [("00:00-24:00 at most 1",)] * 3
    sets[closed] = ("00:00-24:00 off",)
    assert not compute_window_state(Hours(tuple(sets)), NOON).is_open
    assert compute_window_state(Hours((*sets[:closed], (), *sets[closed + 1 :])), NOON).is_open


def test_hours_that_never_change_are_valid_for_ever() -> None:
    state = compute_window_state(Hours(), NOON)
    assert state == WindowState(NOON, None, FULL, FULL, FULL, NOON, None)
    assert state.is_valid_at(NOON + 10**15)


def test_overrides_and_zone_apply() -> None:
    until_ms = NOON + HOUR_MS
    night = (("22:00-06:00",), (), ())
    allowed = compute_window_state(Hours(night, overrides=((ALLOW, until_ms),)), NOON)
    assert (allowed.is_open, allowed.until_ms, allowed.closes_ms) == (True, until_ms, until_ms)
    paused = compute_window_state(Hours(overrides=((PAUSE, until_ms),)), NOON)
    assert (paused.is_open, paused.until_ms, paused.opens_ms) == (False, until_ms, until_ms)
    berlin = compute_window_state(Hours(night, "Europe/Berlin"), NOON)
    assert berlin.opens_ms == NOON + 9 * HOUR_MS
    with pytest.raises(ValueError, match="Europe/Bielefeld"):
        compute_window_state(Hours(night, "Europe/Bielefeld"), NOON)


def test_a_state_is_valid_from_its_instant_to_the_next_change() -> None:
    state = compute_window_state(HOURS, NOON)
    valid = [state.is_valid_at(NOON + each) for each in (-1, 0, 2 * HOUR_MS - 1, 2 * HOUR_MS)]
    assert valid == [False, True, True, False]


def test_the_cache_computes_a_state_again_only_when_it_is_no_longer_valid() -> None:
    cache = WindowStateCache()
    state = cache.find(HOURS, NOON)
    assert cache.find(HOURS, NOON + HOUR_MS) is state
    assert cache.find(Hours(), NOON) is not state
    assert cache.find(HOURS, NOON + 2 * HOUR_MS).from_ms == NOON + 2 * HOUR_MS
    # The clock was set back.
    assert cache.find(HOURS, NOON - HOUR_MS).from_ms == NOON - HOUR_MS
    before = cache.find(HOURS, NOON)
    cache.clear()
    assert cache.find(HOURS, NOON) is not before


def test_the_machines_own_windows_count_for_all_its_jobs() -> None:
    own = ("10:00-14:00 at most 2",)
    hours = Hours(
        ((), ("08:00-20:00 at most 3",), (), own), "UTC", overrides=(("allow", NOON + 1),)
    )
    found = compute_window_state(hours, NOON)
    assert (found.command_level, found.machine_level, found.shared_level) == (FULL, 2, FULL)
    assert found.until_ms == NOON + 1
    later = compute_window_state(hours._replace(overrides=()), NOON)
    assert (later.machine_level, later.until_ms) == (2, NOON + 2 * HOUR_MS)
