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


def test_three_slots_that_become_free_one_after_the_other_share_the_work() -> None:
    free = [NOON + 3 * HOUR_MS, NOON, NOON + HOUR_MS]

    def start_after(ahead_h: float) -> float:
        found = forecast_times(NOON, None, free, ahead_h * HOUR_S, None)
        assert found is not None
        return (found.start_ms - NOON) / HOUR_MS

    # One slot works in the first hour, two in the next two hours, then three.
    assert [start_after(each) for each in (0.5, 1, 4, 5, 8)] == [0.5, 1, 2.5, 3, 4]


def test_a_start_at_the_end_of_the_hours_is_moved_to_the_next() -> None:
    night = Hours((("22:00-06:00",), (), ()))
    opens = NOON + 10 * HOUR_MS
    # Also if the work ahead ends less than half a millisecond before the end.
    for ahead_s in (8 * HOUR_S, 8 * HOUR_S - 0.0004):
        found = forecast_times(NOON, night, [NOON], ahead_s, HOUR_S)
        assert found == ExpectedTimes(opens + 24 * HOUR_MS, opens + 25 * HOUR_MS)
    found = forecast_times(NOON, night, [NOON], 8 * HOUR_S - 0.001, HOUR_S)
    assert found == ExpectedTimes(opens + 8 * HOUR_MS - 1, opens + 9 * HOUR_MS - 1)
    # A slot that becomes free after both nights does no work in them.
    found = forecast_times(NOON, night, [NOON, NOON + 50 * HOUR_MS], 8 * HOUR_S + 1, HOUR_S)
    assert found == ExpectedTimes(opens + 24 * HOUR_MS + 1000, opens + 25 * HOUR_MS + 1000)


def test_a_frozen_job_ends_with_the_window_that_it_fills() -> None:
    night = Hours((("22:00-06:00",), (), ()), closing="freeze")
    start = NOON + 10 * HOUR_MS
    assert forecast_times(NOON, night, [NOON], 0, 8 * HOUR_S) == ExpectedTimes(
        start, start + 8 * HOUR_MS
    )
    assert forecast_times(NOON, night, [NOON], 0, 16 * HOUR_S) == ExpectedTimes(
        start, start + 32 * HOUR_MS
    )


def test_a_job_that_may_not_be_cut_ends_exactly_with_the_window() -> None:
    hours = Hours((("10:00-13:00",), (), ()), closing="terminate")
    assert forecast_times(NOON, hours, [NOON], 0, HOUR_S) == ExpectedTimes(NOON, NOON + HOUR_MS)
    # An unknown duration fits everywhere.
    assert forecast_times(NOON, hours, [NOON], 0, None) == ExpectedTimes(NOON, None)


def test_overrides_move_the_start() -> None:
    until_ms = NOON + 2 * HOUR_MS
    always = Hours(overrides=(("pause", until_ms),))
    expected = ExpectedTimes(until_ms, until_ms + HOUR_MS)
    assert forecast_times(NOON, always, [NOON], 0, HOUR_S) == expected
    night = Hours((("22:00-06:00",), (), ()), overrides=(("allow", until_ms),))
    assert forecast_times(NOON, night, [NOON], 0, HOUR_S) == ExpectedTimes(NOON, NOON + HOUR_MS)
    # The last window is that of the override: the hours are closed otherwise.
    never = ("mon 10:00-11:00",), ("tue 10:00-11:00",), ()
    override = Hours(never, closing="terminate", overrides=(("allow", until_ms),))
    found = forecast_times(NOON, override, [NOON], 0, 2 * HOUR_S)
    assert found == ExpectedTimes(NOON, until_ms)
    assert forecast_times(NOON, override, [NOON], 0, 2 * HOUR_S + 1) is None
    # It may end after the three weeks in which the forecast looks for windows.
    until_ms = NOON + 100 * 24 * HOUR_MS
    override = Hours(never, closing="terminate", overrides=(("allow", until_ms),))
    found = forecast_times(NOON, override, [NOON], 99 * 24 * HOUR_S, 24 * HOUR_S)
    assert found == ExpectedTimes(until_ms - 24 * HOUR_MS, until_ms)


def test_the_last_window_of_three_weeks_counts_to_its_end() -> None:
    hours = Hours((("10:00-13:00",), (), ()))
    # One hour today, three on each of 21 days, and most of the last window.
    found = forecast_times(NOON, hours, [NOON], (1 + 63 + 2.5) * HOUR_S, HOUR_S)
    assert found is not None
    assert found.start_ms == NOON + 22 * 24 * HOUR_MS + HOUR_MS // 2
    assert forecast_times(NOON, hours, [NOON], (1 + 63 + 3) * HOUR_S, HOUR_S) is None


def test_work_of_over_six_years_ahead_gives_no_forecast() -> None:
    days = 24 * HOUR_S
    always = Hours((("00:00-24:00",), (), ()), closing="terminate")
    for hours in (None, always):
        assert forecast_times(NOON, hours, [NOON], 2199 * days, HOUR_S) is not None
        assert forecast_times(NOON, hours, [NOON], 2200 * days, HOUR_S) is None
    # Any number of slots shares the work.
    assert forecast_times(NOON, None, [NOON] * 100, 100 * HOUR_S, None) == ExpectedTimes(
        NOON + HOUR_MS, None
    )
