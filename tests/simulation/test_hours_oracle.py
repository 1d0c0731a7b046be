"""Hours oracle: known days with daylight saving, and comparison with the product's windows."""

from __future__ import annotations

import datetime as dt
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model import weekly, window
from tests.simulation.hours_oracle import MINUTE_MS, UNLIMITED, ObservedHours

BERLIN: Final = "Europe/Berlin"
# Zones whose clocks change by one hour, half an hour, at midnight, and never.
ZONES: Final = (
    BERLIN, "America/St_Johns", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "",
)  # fmt: skip
# Within a day of the changes of 2026: spring and autumn, north and south.
CHANGES: Final = (
    "2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01",
)  # fmt: skip


def utc_ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1000


def hours(
    *ranges: str, zone: str = BERLIN, overrides: tuple[tuple[str, int], ...] = ()
) -> ObservedHours:
    return ObservedHours((ranges, (), ()), zone, "finish", 10.0, overrides)


@pytest.mark.parametrize(
    "ranges, at, level",
    [
        # 02:00 to 03:00 does not exist on 29 March: 01:59 CET is followed by 03:00 CEST.
        ("02:00-03:00", "2026-03-29 00:59", 0),
        ("02:00-03:00", "2026-03-29 01:00", 0),
        ("02:30-04:00", "2026-03-29 00:59", 0),
        ("02:30-04:00", "2026-03-29 01:00", UNLIMITED),
        ("01:00-02:30", "2026-03-29 00:59", UNLIMITED),
        ("01:00-02:30", "2026-03-29 01:00", 0),
        # 02:00 to 03:00 occurs twice on 25 October; the first one counts.
        ("02:00-02:30", "2026-10-25 00:29", UNLIMITED),
        ("02:00-02:30", "2026-10-25 00:30", 0),
        ("02:00-02:30", "2026-10-25 01:15", 0),
        ("02:30-03:00", "2026-10-25 01:15", UNLIMITED),
        ("03:00-04:00", "2026-10-25 01:59", 0),
        ("03:00-04:00", "2026-10-25 02:00", UNLIMITED),
        # The night from Saturday belongs to Saturday.
        ("sat 22:00-06:00 at most 3", "2026-10-25 04:59", 3),
        ("sat 22:00-06:00 at most 3", "2026-10-25 05:00", 0),
    ],
)
def test_a_repeated_hour_counts_once_and_a_skipped_one_not_at_all(
    ranges: str, at: str, level: int
) -> None:
    assert hours(ranges).levels(utc_ms(at))[0] == level


def test_off_closes_and_alone_leaves_the_rest_open() -> None:
    noon_ms = utc_ms("2026-11-24 12:00")
    assert hours("12:00-13:00 off", zone="").levels(noon_ms)[0] == 0
    assert hours("11:00-12:00 off", zone="").levels(noon_ms)[0] == UNLIMITED
    assert hours("12:00-13:00 off", "00:00-24:00", zone="").levels(noon_ms)[0] == 0


def test_pause_outranks_allow_and_both_outrank_the_hours() -> None:
    noon_ms = utc_ms("2026-11-24 12:00")
    later_ms = noon_ms + 1
    allow, pause = ("allow", later_ms), ("pause", later_ms)
    assert hours("01:00-02:00", overrides=(allow,)).is_open(noon_ms)
    assert not hours("01:00-02:00", overrides=(allow,)).is_open(later_ms)
    assert not hours(overrides=(allow, pause)).is_open(noon_ms)


def test_the_close_is_the_first_closed_instant_after_an_open_one() -> None:
    at_ms = utc_ms("2026-11-24 12:00")
    found = hours("12:10-12:20", zone="").find_close_ms(at_ms, at_ms + 60 * MINUTE_MS)
    assert found == at_ms + 20 * MINUTE_MS
    assert hours(zone="").find_close_ms(at_ms, at_ms + 60 * MINUTE_MS) is None


_MINUTES: Final = st.integers(0, 1439)
_LEVELS: Final = st.sampled_from(("", " off", " at most 1", " at most 7"))
_DAYS: Final = st.sampled_from(("", "sat ", "sun ", "sat,sun ", "fri-mon ", "mon-sat "))


@st.composite
def ranges(draw: st.DrawFn) -> str:
    first = draw(_MINUTES)
    end = draw(_MINUTES.filter(lambda each: each != first))
    times = f"{first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02}"
    return f"{draw(_DAYS)}{times}{draw(_LEVELS)}"


@given(
    st.lists(ranges(), max_size=3),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.integers(-1440, 2 * 1440),
)
def test_oracle_and_product_agree_around_changes_of_the_clocks(
    texts: list[str], zone: str, day: str, minute: int
) -> None:
    at_ms = utc_ms(f"{day} 00:00") + minute * MINUTE_MS
    found = window.level_at([texts], zone, at_ms)
    expected = hours(*texts, zone=zone).levels(at_ms)[0]
    assert (UNLIMITED if found == weekly.FULL else found) == expected
