"""Forecast of start and end: free slots, jobs ahead, hours."""

from __future__ import annotations

from mythjobs.model.window import Hours
from mythjobs.scheduler.forecast import ExpectedTimes, forecast_times

NOON = 1_795_521_600_000
HOUR_MS, HOUR_S = 3_600_000, 3600.0


def test_a_free_slot_starts_the_job_now() -> None:
    assert forecast_times(NOON, None, [NOON], 0, HOUR_S) == ExpectedTimes(NOON, NOON + HOUR_MS)
    assert forecast_times(NOON, None, [NOON], 0, None) == ExpectedTimes(NOON, None)
    assert forecast_times(NOON, None, [], 0, HOUR_S) is None


def test_the_slots_share_the_work_ahead() -> None:
    both = [NOON, NOON + HOUR_MS]
    # The first slot works one hour alone, then both share the rest.
    assert forecast_times(NOON, None, both, 0, HOUR_S) == ExpectedTimes(NOON, NOON + HOUR_MS)
    found = forecast_times(NOON, None, both, 3 * HOUR_S, HOUR_S)
    assert found == ExpectedTimes(NOON + 2 * HOUR_MS, NOON + 3 * HOUR_MS)


def test_the_job_starts_when_the_hours_open() -> None:
    night = Hours((("22:00-06:00",), (), ()))
    assert forecast_times(NOON, night, [NOON], 0, HOUR_S) == ExpectedTimes(
        NOON + 10 * HOUR_MS, NOON + 11 * HOUR_MS
    )


def test_work_ahead_that_fills_a_night_moves_the_start_to_the_next() -> None:
    night = Hours((("22:00-06:00",), (), ()))
    found = forecast_times(NOON, night, [NOON], 9 * HOUR_S, HOUR_S)
    assert found is not None
    assert found.start_ms == NOON + (24 + 11) * HOUR_MS
    # The level of the hours leaves one of the two slots.
    level = Hours((("22:00-06:00 at most 1",), (), ()))
    assert forecast_times(NOON, level, [NOON, NOON], 9 * HOUR_S, HOUR_S) == found


def test_a_job_that_does_not_fit_waits_for_a_window_that_is_long_enough() -> None:
    hours = Hours((("10:00-13:00", "sat 00:00-24:00"), (), ()), closing="requeue")
    found = forecast_times(NOON, hours, [NOON], 0, 5 * HOUR_S)
    assert found is not None
    assert found.start_ms == NOON + (12 + 3 * 24) * HOUR_MS  # Saturday 00:00
    assert forecast_times(NOON, hours, [NOON], 0, 30 * HOUR_S) is None
    finishing = Hours((("10:00-13:00",), (), ()))
    assert forecast_times(NOON, finishing, [NOON], 0, 30 * HOUR_S) == ExpectedTimes(
        NOON, NOON + 30 * HOUR_MS
    )


def test_a_frozen_job_ends_when_its_windows_add_up_to_its_duration() -> None:
    night = Hours((("22:00-06:00",), (), ()), closing="freeze")
    start = NOON + 10 * HOUR_MS
    assert forecast_times(NOON, night, [NOON], 0, 7 * HOUR_S) == ExpectedTimes(
        start, start + 7 * HOUR_MS
    )
    # Eight hours in the first night, eight in the second, four in the third.
    ends = start + (48 + 4) * HOUR_MS
    assert forecast_times(NOON, night, [NOON], 0, 20 * HOUR_S) == ExpectedTimes(start, ends)
    assert forecast_times(NOON, night, [NOON], 0, 10_000 * HOUR_S) == ExpectedTimes(start, None)
