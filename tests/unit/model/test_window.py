"""Execution windows across daylight saving, overrides, and actions of a machine."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mythjobs.model import window as w
from mythjobs.model.weekly import CLOSED, FULL, parse_range
from mythjobs.model.zone import DAY_MS, format_local_time, instant_ms, load_zone, to_local

HOUR_MS = 3_600_000
NIGHT = [["22:00-06:00"]]
ALL_DAY = [["00:00-24:00"]]

# The evening before each change of daylight saving, and the hours of the night 22:00-06:00.
CHANGES = [
    ("Europe/Berlin", "2024-03-30", 7.0),
    ("Europe/Berlin", "2024-10-26", 9.0),
    ("Europe/London", "2024-03-30", 7.0),
    ("Europe/London", "2024-10-26", 9.0),
    ("America/New_York", "2024-03-09", 7.0),
    ("America/New_York", "2024-11-02", 9.0),
    ("America/Havana", "2024-03-09", 7.0),  # at midnight, into the day
    ("America/Havana", "2024-11-02", 9.0),
    ("America/Santiago", "2024-09-07", 7.0),  # 24:00 becomes 01:00
    ("America/Santiago", "2024-04-06", 9.0),
    ("Africa/Cairo", "2024-04-25", 7.0),
    ("Africa/Cairo", "2024-10-31", 9.0),
    ("Australia/Lord_Howe", "2024-10-05", 7.5),  # half an hour
    ("Australia/Lord_Howe", "2024-04-06", 8.5),
    ("Pacific/Chatham", "2024-09-28", 7.0),  # at a quarter to
    ("Pacific/Chatham", "2024-04-06", 9.0),
]
ZONES = sorted({zone for zone, _, _ in CHANGES})


def at(text: str, zone: str = "UTC") -> int:
    """Return the instant of a local time, the first one if it occurs twice."""
    when = dt.datetime.fromisoformat(text)
    return round(when.replace(tzinfo=load_zone(zone)).timestamp() * 1000)


@pytest.mark.parametrize("zone,evening,hours", CHANGES)
def test_a_night_follows_local_time(zone: str, evening: str, hours: float) -> None:
    noon = at(f"{evening} 12:00", zone)
    opens = w.next_open_ms(NIGHT, zone, noon)
    assert opens == at(f"{evening} 22:00", zone)
    closes = w.next_close_ms(NIGHT, zone, opens)
    assert closes is not None
    assert f"{to_local(closes, zone):%H:%M}" == "06:00"
    assert (closes - opens) / HOUR_MS == hours
    # Not one instant before, and not one after.
    assert w.level_at(NIGHT, zone, opens - 1) == CLOSED
    assert w.level_at(NIGHT, zone, opens) == FULL
    assert w.level_at(NIGHT, zone, closes - 1) == FULL
    assert w.level_at(NIGHT, zone, closes) == CLOSED


@pytest.mark.parametrize("zone,evening,hours", CHANGES)
def test_the_whole_day_includes_its_last_minute(zone: str, evening: str, hours: float) -> None:
    begin = at(f"{evening} 00:00", zone)
    assert w.level_at(ALL_DAY, zone, at(f"{evening} 23:59:30", zone)) == FULL
    assert w.changes(ALL_DAY, zone, begin, begin + 3 * DAY_MS) == [(begin, FULL)]
    assert w.next_close_ms(ALL_DAY, zone, begin) is None


@pytest.mark.parametrize("zone,evening,hours", CHANGES)
def test_adjacent_ranges_leave_no_gap(zone: str, evening: str, hours: float) -> None:
    # Also where that time is skipped, or occurs twice, in this night.
    begin = at(f"{evening} 00:00", zone)
    for minute in range(0, 6 * 60, 15):
        split = f"{minute // 60:02}:{minute % 60:02}"
        both = (
            [[f"22:00-{split}", f"{split}-22:00"]] if minute else [["22:00-24:00", "00:00-22:00"]]
        )
        assert w.changes(both, zone, begin, begin + 2 * DAY_MS) == [(begin, FULL)]


def test_a_skipped_time_is_the_first_instant_after_the_gap() -> None:
    zone = "Europe/Berlin"
    noon = at("2024-03-30 12:00", zone)
    assert w.next_open_ms([["02:30-05:00"]], zone, noon) == at("2024-03-31 03:00", zone)
    # The whole range is skipped: it opens the next day.
    assert w.next_open_ms([["02:10-02:50"]], zone, noon) == at("2024-04-01 02:10", zone)


def test_a_time_that_occurs_twice_is_the_first_one() -> None:
    zone = "Europe/Berlin"
    begin = at("2024-10-27 00:00", zone)
    quarter = w.changes([["02:30-02:45"]], zone, begin, begin + DAY_MS)
    first = begin + 2 * HOUR_MS + HOUR_MS // 2
    assert quarter == [(begin, CLOSED), (first, FULL), (first + HOUR_MS // 4, CLOSED)]


def test_a_day_that_a_zone_skipped_leaves_no_gap() -> None:
    # Samoa had no 30 December 2011.
    zone = "Pacific/Apia"
    opens = w.next_open_ms([["22:00-06:00"]], zone, at("2011-12-29 12:00", zone))
    assert opens == at("2011-12-29 22:00", zone)
    # The night that began on the missing day ends in the morning, like all others.
    assert w.next_close_ms([["22:00-06:00"]], zone, opens) == at("2011-12-31 06:00", zone)


def test_a_range_begins_on_its_day_although_the_clock_is_set_back_to_the_day_before() -> None:
    # St. John's set 00:01 of Sunday back to 23:01 of Saturday.
    zone = "America/St_Johns"
    opens = at("2010-11-07 00:00", zone)
    sunday = [["sun 00:00-00:30"]]
    assert f"{to_local(opens + HOUR_MS // 2, zone):%a %H:%M}" == "Sat 23:30"
    assert w.level_at(sunday, zone, opens + HOUR_MS // 2) == FULL
    assert w.changes(sunday, zone, opens - HOUR_MS, opens + 3 * HOUR_MS) == [
        (opens - HOUR_MS, CLOSED),
        (opens, FULL),
        (opens + 3 * HOUR_MS // 2, CLOSED),
    ]


def test_changes_include_one_at_the_last_instant() -> None:
    noon, opens = at("2026-11-23 12:00"), at("2026-11-23 22:00")
    assert w.changes(NIGHT, "", noon, opens) == [(noon, CLOSED), (opens, FULL)]
    assert w.changes(NIGHT, "", noon, opens - 1) == [(noon, CLOSED)]


def test_hours_are_open_when_all_sets_are_open() -> None:
    sets = [["20:00-02:00"], ["mon-fri 22:00-06:00 at most 2"], ["00:00-24:00 at most 3"]]
    monday = at("2026-11-23 12:00")
    assert w.changes(sets, "", monday, monday + DAY_MS) == [
        (monday, CLOSED),
        (at("2026-11-23 22:00"), 2),
        (at("2026-11-24 02:00"), CLOSED),
    ]
    assert w.next_open_ms([["mon 10:00-12:00"], ["tue 10:00-12:00"]], "", monday) is None


def test_the_highest_level_of_a_set_counts_and_off_closes() -> None:
    week = ["00:00-24:00 at most 1", "22:00-06:00", "sun 00:00-24:00 off"]
    assert w.level_at([week], "", at("2026-11-23 12:00")) == 1
    assert w.level_at([week], "", at("2026-11-23 23:00")) == FULL
    assert w.level_at([week], "", at("2026-11-29 23:00")) == CLOSED
    only_off = [["mon-fri 08:00-18:00 off"]]
    assert w.level_at(only_off, "", at("2026-11-23 12:00")) == CLOSED
    assert w.level_at(only_off, "", at("2026-11-23 19:00")) == FULL
    assert w.level_at([[], []], "", 0) == FULL


def test_an_override_takes_precedence_until_it_ends() -> None:
    noon = at("2026-11-23 12:00")
    allow = (w.ALLOW, at("2026-11-23 13:00"))
    pause = (w.PAUSE, at("2026-11-24 04:00"))
    assert w.level_at(NIGHT, "", noon, [allow]) == FULL
    assert w.next_close_ms(NIGHT, "", noon, [allow]) == allow[1]
    assert w.level_at(NIGHT, "", noon, [allow, pause]) == CLOSED
    assert w.next_open_ms(NIGHT, "", noon, [allow, pause]) == pause[1]
    # A pause of months, beyond every search horizon.
    far = noon + 100 * DAY_MS
    assert w.next_open_ms([], "", noon, [(w.PAUSE, far)]) == far
    assert w.next_change_ms([], "", noon, []) is None
    # Local hours after such a pause.
    berlin = "Europe/Berlin"
    opens = w.next_open_ms(NIGHT, berlin, noon, [(w.PAUSE, far)])
    assert opens == at(f"{to_local(far, berlin):%Y-%m-%d} 22:00", berlin)
    # An override that has ended.
    assert w.next_change_ms([], "", noon, [(w.PAUSE, noon - HOUR_MS)]) is None
    assert w.next_close_ms([], "", noon, [(w.PAUSE, noon - HOUR_MS)]) is None


def test_window_actions_begin_with_the_current_state() -> None:
    noon = at("2026-11-23 12:00")
    hours = w.Hours((("22:00-06:00", "00:00-24:00 at most 1"), (), ()), closing="freeze")
    assert w.window_actions(hours, noon, noon + 8 * DAY_MS) == [(noon, "open")]
    hours = w.Hours((("22:00-06:00",), (), ()), overrides=((w.ALLOW, noon + HOUR_MS),))
    assert w.window_actions(hours, noon, noon + DAY_MS) == [
        (noon, "open"),
        (noon + HOUR_MS, "close"),
        (at("2026-11-23 22:00"), "open"),
        (at("2026-11-24 06:00"), "close"),
    ]
    assert len(w.window_actions(w.Hours((("22:00-06:00",), (), ())), noon, noon + 8 * DAY_MS)) == 17


def test_an_unknown_zone_is_rejected_with_the_remedy() -> None:
    for name in ("Europe/Bielefeld", "../etc/passwd", "Europe"):
        with pytest.raises(ValueError, match="install tzdata"):
            w.level_at(NIGHT, name, 0)


def test_local_times_are_formatted_for_people() -> None:
    zone, now = "Europe/Berlin", at("2026-11-24 12:00", "Europe/Berlin")
    assert format_local_time(now + 10 * HOUR_MS, now, zone) == "22:00"
    assert format_local_time(now - 12 * HOUR_MS, now, zone) == "00:00"
    assert format_local_time(now - 13 * HOUR_MS, now, zone) == "2026-11-23 23:00"
    assert format_local_time(now + 12 * HOUR_MS, now, zone) == "wed 00:00"
    assert format_local_time(now + 6 * DAY_MS, now, zone) == "mon 12:00"
    assert format_local_time(now + 7 * DAY_MS, now, zone) == "2026-12-01 12:00"


DAYS = st.sampled_from(["", "daily ", "mon-fri ", "sat,sun ", "fri-mon ", "wed ", "sun "])
LEVELS = st.sampled_from(["", " at most 1", " at most 3", " off"])
MINUTES = st.integers(0, 24 * 12 - 1).map(lambda five: 5 * five)


@st.composite
def ranges(draw: st.DrawFn) -> str:
    start, end = draw(MINUTES), draw(MINUTES)
    if start == end:
        return f"{draw(DAYS)}00:00-24:00{draw(LEVELS)}"
    clock = [f"{each // 60:02}:{each % 60:02}" for each in (start, end)]
    return f"{draw(DAYS)}{clock[0]}-{clock[1]}{draw(LEVELS)}"


SETS = st.lists(st.lists(ranges(), max_size=3), max_size=3)
# Mostly near a change of daylight saving, some anywhere in ten years.
INSTANTS = st.one_of(
    st.sampled_from(CHANGES).flatmap(
        lambda row: st.integers(-2 * 1440, 3 * 1440).map(
            lambda minutes: at(f"{row[1]} 12:00", row[0]) + 60_000 * minutes
        )
    ),
    st.integers(at("2020-01-01"), at("2030-01-01")),
)


@settings(max_examples=60)
@given(SETS, st.sampled_from(ZONES), INSTANTS)
def test_the_level_of_any_instant_agrees_with_the_list_of_changes(
    sets: list[list[str]], zone: str, now: int
) -> None:
    end = now + 4 * DAY_MS
    changes = w.changes(sets, zone, now, end)
    for (begin, level), (until, other) in pairwise([*changes, (end, -1)]):
        assert level != other
        # A change at `end` itself leaves only its own instant.
        for instant in {begin, (begin + until) // 2, max(begin, until - 1)}:
            assert w.level_at(sets, zone, instant) == level
    if len(changes) > 1:
        assert w.next_change_ms(sets, zone, now) == changes[1][0]
    opens = w.next_open_ms(sets, zone, now)
    assert opens == next((a for a, level in changes if level), opens)
    assert opens is None or w.level_at(sets, zone, opens) > CLOSED
    shuts = w.next_close_ms(sets, zone, now)
    assert shuts is None or w.level_at(sets, zone, shuts) == CLOSED


@settings(max_examples=60)
@given(st.lists(ranges(), max_size=3), st.sampled_from(ZONES), INSTANTS)
def test_the_level_follows_local_time(texts: list[str], zone: str, now: int) -> None:
    here = to_local(now, zone)
    naive = here.replace(tzinfo=None)
    # Nominal times move within a day of a change; the tests above cover that.
    for hours in (-25, 25):
        if to_local(now + hours * HOUR_MS, zone).utcoffset() != here.utcoffset():
            return
    levels = []
    parsed = [parse_range(each) for each in texts]
    for each in parsed:
        for back in (0, 1):
            day = naive.date() - dt.timedelta(days=back)
            start = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=each.start)
            inside = start <= naive < start + dt.timedelta(minutes=each.minutes)
            if day.weekday() in each.days and inside:
                levels.append(each.level)
    everything = all(each.level == CLOSED for each in parsed)
    expected = CLOSED if CLOSED in levels else max(levels, default=FULL if everything else CLOSED)
    assert w.level_at([texts], zone, now) == expected


@settings(max_examples=60)
@given(st.sampled_from(CHANGES), st.integers(-2, 2), MINUTES, MINUTES)
def test_nominal_times_keep_their_order_through_changes(
    row: tuple[str, str, float], days: int, one: int, other: int
) -> None:
    zone, evening, _ = row
    day = dt.date.fromisoformat(evening) + dt.timedelta(days=days)
    early, late = sorted((one, other))
    before, after = instant_ms(day, early, zone), instant_ms(day, late, zone)
    assert before <= after
    # Messages and the store accept integers only.
    assert type(before) is type(after) is int


def test_allow_does_not_open_the_windows_of_the_machines_own_policy() -> None:
    noon = instant_ms(dt.date(2026, 11, 24), 720, "UTC")
    for sets, override, level in (
        (((), ("22:00-06:00",), (), ()), w.ALLOW, FULL),
        (((), (), (), ("22:00-06:00",)), w.ALLOW, CLOSED),
        (((), (), (), ("10:00-14:00 at most 2",)), w.ALLOW, 2),
        (((), (), (), ("10:00-14:00",)), w.PAUSE, CLOSED),
    ):
        assert w.level_at(sets, "UTC", noon, [(override, noon + 1)]) == level
