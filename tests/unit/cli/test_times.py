import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mythjobs.cli.times import (
    format_end_time,
    format_run_time,
    format_short_time,
    format_time,
    format_time_left,
    parse_instant_ms,
    parse_past_ms,
)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


NOW = utc(2026, 10, 24, 19, 30)  # 21:30 in Berlin, hours before summer time ends there


def test_instants_are_formatted_in_local_time() -> None:
    assert format_time(NOW) == "2026-10-24 21:30:00"
    assert format_short_time(NOW, NOW) == "21:30"
    assert format_short_time(utc(2026, 10, 23, 10, 0), NOW) == "2026-10-23 12:00"
    assert format_time(None) == format_short_time(None, NOW) == ""


def test_an_end_that_is_near_is_shown_with_seconds() -> None:
    assert format_end_time(NOW + 5000, NOW) == "21:30:05"
    assert format_end_time(NOW + 300_000, NOW) == "21:35"
    assert format_end_time(NOW + 599_000, NOW) == "21:39:59"
    assert format_end_time(NOW + 601_000, NOW) == "21:40"
    assert format_end_time(None, NOW) == ""


@pytest.mark.parametrize(
    "text, at",
    [
        ("+2h", utc(2026, 10, 24, 21, 30)),
        ("22:00", utc(2026, 10, 24, 20, 0)),
        # Tomorrow, when the clocks have gone back.
        ("21:00", utc(2026, 10, 25, 20, 0)),
        ("2026-12-24 18:00", utc(2026, 12, 24, 17, 0)),
        ("2026-12-24T18:00:05+00:00", utc(2026, 12, 24, 18, 0, 5)),
    ],
)
def test_relative_clock_and_full_times_are_parsed(text: str, at: int) -> None:
    assert parse_instant_ms(text, NOW) == at


@pytest.mark.parametrize("text", ["", "soon", "25:00", "+", "+3", "2026-13-01 00:00", "7"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_instant_ms(text, NOW)


@pytest.mark.parametrize(
    "text, at",
    [
        ("2h", utc(2026, 10, 24, 17, 30)),
        ("-1d", utc(2026, 10, 23, 19, 30)),
        ("21:30", NOW),
        ("21:31", utc(2026, 10, 23, 19, 31)),
        ("today", utc(2026, 10, 23, 22, 0)),
        ("yesterday", utc(2026, 10, 22, 22, 0)),
        ("2026-03-01", utc(2026, 2, 28, 23, 0)),  # in winter time
        ("2026-10-24 18:00", utc(2026, 10, 24, 16, 0)),
        ("2026-10-24T18:00:05+00:00", utc(2026, 10, 24, 18, 0, 5)),
    ],
)
def test_times_in_the_past_are_parsed(text: str, at: int) -> None:
    assert parse_past_ms(text, NOW) == at


def test_the_last_clock_time_counts_after_a_change_of_the_clocks() -> None:
    now = utc(2026, 10, 25, 19, 0)  # 20:00 in winter time
    assert parse_past_ms("22:00", now) == utc(2026, 10, 24, 20, 0)  # in summer time
    assert parse_past_ms("19:00", now) == utc(2026, 10, 25, 18, 0)


# Clocks in Berlin skip 2:00 to 3:00 on 29 March 2026, at 1:00 UTC, and show 2:00 to 3:00 twice on
# 25 October, until 1:00 UTC and after it.
@pytest.mark.parametrize(
    "text, now, at",
    [
        ("02:30", utc(2026, 3, 28, 23, 0), utc(2026, 3, 30, 0, 30)),
        ("03:00", utc(2026, 3, 28, 23, 0), utc(2026, 3, 29, 1, 0)),
        ("02:30", utc(2026, 10, 25, 0, 0), utc(2026, 10, 25, 0, 30)),
        ("02:30", utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30)),
        ("02:30", utc(2026, 10, 25, 1, 30), utc(2026, 10, 26, 1, 30)),
        ("2026-03-29 02:30", NOW, utc(2026, 3, 29, 1, 0)),
        ("2026-10-25 02:30", NOW, utc(2026, 10, 25, 0, 30)),
    ],
)
def test_a_clock_time_is_the_next_that_clocks_show(text: str, now: int, at: int) -> None:
    assert parse_instant_ms(text, now) == at


@pytest.mark.parametrize(
    "text, now, at",
    [
        ("02:30", utc(2026, 3, 29, 6, 0), utc(2026, 3, 28, 1, 30)),
        ("02:30", utc(2026, 10, 25, 6, 0), utc(2026, 10, 25, 1, 30)),
        ("02:30", utc(2026, 10, 25, 1, 29), utc(2026, 10, 25, 0, 30)),
        ("2026-03-29 02:30", NOW, utc(2026, 3, 29, 1, 0)),
    ],
)
def test_a_clock_time_in_the_past_is_the_last_that_clocks_showed(
    text: str, now: int, at: int
) -> None:
    assert parse_past_ms(text, now) == at


def test_today_begins_after_a_midnight_that_clocks_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Africa/Cairo")
    time.tzset()
    assert parse_past_ms("today", utc(2026, 4, 24, 9, 0)) == utc(2026, 4, 23, 22, 0)


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "-", "7", "+2h", "2026-13-01 00:00", "1:2:3"]
)
def test_an_invalid_time_in_the_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_past_ms(text, NOW)


def test_a_time_outside_of_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="is in the future"):
        parse_past_ms("2026-10-25", NOW)
    with pytest.raises(ValueError, match="before 1970"):
        parse_past_ms("30000d", NOW)


@pytest.mark.parametrize(
    "left_s, text",
    [
        (-3, "0 s"), (0.2, "1 s"), (9, "9 s"), (99, "99 s"), (100, "2 min"), (310, "5 min"),
        (5990, "100 min"), (6000, "2 h"), (172_000, "48 h"), (172_800, "2 d"),
    ],
)  # fmt: skip
def test_time_left_has_one_unit(left_s: float, text: str) -> None:
    assert format_time_left(round(1000 * left_s), 0) == text


@pytest.mark.parametrize(
    "state, started_ms, run_s, shown",
    [
        ("succeeded", NOW, 4080.0, "1 h 8 min"),
        ("failed", NOW, 0.042, "42 ms"),
        ("succeeded", NOW, 0.0, "under 1 ms"),
        ("running", NOW - 42_900, None, "42 s"),
        ("running", NOW - 3_700_000, None, "1 h 1 min"),
        ("running", NOW + 300, None, "1 s"),  # the clock of its machine is ahead
        ("leased", None, None, ""),
        ("cancelled", None, None, ""),
        ("queued", NOW - 5000, 2.0, ""),  # waits for another attempt
    ],
)
def test_the_run_time_is_that_of_the_last_attempt(
    state: str, started_ms: int | None, run_s: float | None, shown: str
) -> None:
    job = {"state": state, "started_ms": started_ms, "run_s": run_s}
    assert format_run_time(job, NOW) == shown
