"""Ticks of schedules in eight time zones, at both changes of daylight saving, compared with clocks
that are read minute by minute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.schedule import Every, Schedule, When, schedule_from_table
from mythjobs.scheduler import ticks
from mythjobs.scheduler.ticks import Tick

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
# Changes by an hour and by half an hour, at night and at midnight, on both hemispheres.
ZONES: Final = (
    "Europe/Berlin", "Europe/London", "America/New_York", "America/Santiago", "Africa/Cairo",
    "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Auckland",
)  # fmt: skip
CHANGES: Final = [(zone, forward) for zone in ZONES for forward in (True, False)]


class Change(NamedTuple):
    """A change of a zone's clocks in 2026, at an instant; `by` is positive if clocks skip time."""

    at_ms: int
    by: dt.timedelta

    def local(self, zone: str, minutes: int) -> dt.datetime:
        """A local time that the clocks skip or show twice, `minutes` after the first such time."""
        shown = read_clock(self.at_ms, zone)
        first = shown - self.by if self.by > dt.timedelta() else shown
        return first + dt.timedelta(minutes=minutes)


def read_clock(at_ms: int, zone: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def instants(zone: str, local: dt.datetime, near_ms: int) -> list[int]:
    """Return all instants near another one at which the clocks show a local time."""
    minutes = range(near_ms - 30 * HOUR_MS, near_ms + 30 * HOUR_MS, MINUTE_MS)
    return [each for each in minutes if read_clock(each, zone) == local]


@cache
def find_change(zone: str, forward: bool) -> Change:
    start_ms = round(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
    for day_ms in range(start_ms, start_ms + 366 * DAY_MS, DAY_MS):
        step = read_clock(day_ms + DAY_MS, zone) - read_clock(day_ms, zone)
        if step == dt.timedelta(days=1) or (step > dt.timedelta(days=1)) != forward:
            continue
        for at_ms in range(day_ms, day_ms + DAY_MS + 1, MINUTE_MS):
            step = read_clock(at_ms, zone) - read_clock(at_ms - MINUTE_MS, zone)
            if step != dt.timedelta(minutes=1):
                return Change(at_ms, step - dt.timedelta(minutes=1))
    raise AssertionError(f"no change in {zone}")


def parse(**table: object) -> Schedule:
    return ticks.check_when(schedule_from_table({"name": "night", "command": "backup"} | table))


def when(**table: object) -> When:
    return parse(**table).when


def between(found: Iterator[Tick], to_ms: int) -> list[Tick]:
    kept: list[Tick] = []
    for each in found:
        if each.at_ms > to_ms:
            return kept
        kept.append(each)
    raise AssertionError("the ticks ended")


def list_ticks(of: When, zone: str, change: Change) -> list[Tick]:
    """Return the ticks from 28 hours before a change to 28 hours after it."""
    found = ticks.iterate_ticks(of, zone, change.at_ms - 28 * HOUR_MS)
    return between(found, change.at_ms + 28 * HOUR_MS)


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_a_fixed_time_runs_once_on_each_day(zone: str, forward: bool) -> None:
    change = find_change(zone, forward)
    local = change.local(zone, 10)
    shown = instants(zone, local, change.at_ms)
    assert len(shown) == (0 if forward else 2)
    found = list_ticks(when(cron=f"{local.minute} {local.hour} * * *"), zone, change)
    assert [each.at_ms for each in found if each.runs and each.note] == [change.at_ms] * forward
    assert [each.at_ms for each in found if not each.runs] == shown[1:]
    expected = [change.at_ms] if forward else shown[:1]
    for day in (local - dt.timedelta(days=1), local + dt.timedelta(days=1)):
        expected += instants(zone, day, change.at_ms)
    assert [each.at_ms for each in found if each.runs] == sorted(expected)


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_a_fixed_time_may_follow_the_clocks(zone: str, forward: bool) -> None:
    change = find_change(zone, forward)
    local = change.local(zone, 10)
    shown = instants(zone, local, change.at_ms)
    found = list_ticks(when(cron=f"{local.minute} {local.hour} * * *", dst="clock"), zone, change)
    near = [each for each in found if abs(each.at_ms - change.at_ms) < 20 * HOUR_MS]
    assert [each.at_ms for each in near if each.runs] == shown
    assert [each.at_ms for each in near if not each.runs] == [change.at_ms] * forward


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_an_expression_with_a_star_runs_as_often_as_clocks_show_it(
    zone: str, forward: bool
) -> None:
    change = find_change(zone, forward)
    found = list_ticks(when(cron="*/10 * * * *"), zone, change)
    minutes = range(
        change.at_ms - 28 * HOUR_MS + MINUTE_MS, change.at_ms + 28 * HOUR_MS + 1, MINUTE_MS
    )
    expected = [each for each in minutes if read_clock(each, zone).minute % 10 == 0]
    assert [each.at_ms for each in found] == expected
    assert all(each.runs for each in found)
    [noted] = [each for each in found if each.note] if forward else [None]
    if noted is not None:
        count = change.by // dt.timedelta(minutes=10)
        assert noted.at_ms == change.at_ms
        assert noted.note.startswith(f"{count} local times ")


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_hours_run_once_on_each_day(zone: str, forward: bool) -> None:
    change = find_change(zone, forward)
    begin = change.local(zone, 10)
    end = begin + dt.timedelta(hours=3)
    found = list_ticks(when(between=f"{begin:%H:%M}-{end:%H:%M}"), zone, change)
    [at] = [each for each in found if abs(each.at_ms - change.at_ms) < 20 * HOUR_MS]
    shown = instants(zone, begin, change.at_ms)
    assert at.at_ms == (shown[0] if shown else change.at_ms)
    assert at.until_ms == instants(zone, end, change.at_ms)[0]
    assert all(each.runs for each in found)


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_hours_that_the_clocks_skip_keep_their_length(zone: str, forward: bool) -> None:
    change = find_change(zone, forward)
    begin = change.local(zone, 0)
    end = begin + dt.timedelta(minutes=15)
    found = list_ticks(when(between=f"{begin:%H:%M}-{end:%H:%M}"), zone, change)
    [at] = [each for each in found if abs(each.at_ms - change.at_ms) < 20 * HOUR_MS]
    assert at.until_ms == at.at_ms + 15 * MINUTE_MS


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_an_interval_is_real_time(zone: str, forward: bool) -> None:
    change = find_change(zone, forward)
    start = read_clock(change.at_ms - 5 * DAY_MS, zone)
    of = when(every="90m", start=f"{start:%Y-%m-%d} 12:00")
    [first_ms] = instants(zone, start.replace(hour=12, minute=0), change.at_ms - 5 * DAY_MS)
    found = list_ticks(of, zone, change)
    assert {(each.at_ms - first_ms) % (90 * MINUTE_MS) for each in found} == {0}
    assert len(found) in (37, 38)


@pytest.mark.parametrize("zone, forward", CHANGES)
def test_each_instant_gives_the_same_rest_of_the_ticks(zone: str, forward: bool) -> None:
    # A master that starts again continues where it stopped, also between the two occurrences of a
    # local time.
    change = find_change(zone, forward)
    local = change.local(zone, 10)
    for of in (
        when(cron=["*/15 * * * *", f"{local.minute} {local.hour} * * *"]),
        when(cron=f"0,5,10 {local.hour} * * *"),
        when(between=f"{local:%H:%M}-{local + dt.timedelta(hours=1):%H:%M}"),
    ):
        everything = list_ticks(of, zone, change)
        for minutes in range(-180, 180, 11):
            after_ms = change.at_ms + minutes * MINUTE_MS
            rest = [each for each in everything if each.at_ms > after_ms][:2]
            found = ticks.iterate_ticks(of, zone, after_ms)
            assert [each.at_ms for each in islice(found, len(rest))] == [
                each.at_ms for each in rest
            ]


def test_expressions_of_cron() -> None:
    # Tuesday 2026-11-24, 12:00 UTC.
    noon_ms = 1_795_521_600_000

    def first(*expressions: str) -> list[str]:
        found = ticks.next_ticks(when(cron=list(expressions)), "", noon_ms, 2)
        return [f"{read_clock(each.at_ms, 'UTC'):%a %d %b %H:%M}" for each in found]

    assert first("@daily") == ["Wed 25 Nov 00:00", "Thu 26 Nov 00:00"]
    assert first("@hourly") == ["Tue 24 Nov 13:00", "Tue 24 Nov 14:00"]
    assert first("15 3 L * *") == ["Mon 30 Nov 03:15", "Thu 31 Dec 03:15"]
    assert first("0 9 * * fri#1") == ["Fri 04 Dec 09:00", "Fri 01 Jan 09:00"]
    assert first("0 9 * * 5L") == ["Fri 27 Nov 09:00", "Fri 25 Dec 09:00"]
    assert first("0 9 1-7 dec mon") == ["Tue 01 Dec 09:00", "Wed 02 Dec 09:00"]
    assert first("0 9 * * mon-wed") == ["Wed 25 Nov 09:00", "Mon 30 Nov 09:00"]
    assert first("0 14 * * *", "0 13 * * *") == ["Tue 24 Nov 13:00", "Tue 24 Nov 14:00"]
    assert first("0 13 * * *", "0 13 * * tue") == ["Tue 24 Nov 13:00", "Wed 25 Nov 13:00"]
    assert first("0 0 29 2 *") == ["Tue 29 Feb 00:00", "Sun 29 Feb 00:00"]


@pytest.mark.parametrize(
    "expression, why",
    [
        ("61 * * * *", 'minute "61": 61 is not one of 0 to 59$'),
        ("* 24 * * *", 'hour "24": 24 is not one of 0 to 23$'),
        ("* * 0 * *", 'day of the month "0": 0 is not one of 1 to 31$'),
        ("* * * 13 *", "13 is not one of 1 to 12 or jan to dec$"),
        ("* * * * 8", "8 is not one of 0 to 7 or sun to sat$"),
        ("* * * January *", "January is not a name of cron; write jan$"),
        ("* * * * friday", "friday is not a name of cron; write fri$"),
        ("* * * * mon-", '"mon-" is not a value, a range like 1-5 or a step like'),
        ("0 0 30 2 *", '"0 0 30 2 \\*" never matches a date$'),
        ("0 0 31 4,6 *", "never matches a date$"),
        ("*/0 * * * *", "the step /0 must be 1 or more"),
        ("*/-5 * * * *", "is not a value"),
        ("1,,2 * * * *", "a value is missing before or after a comma"),
        ("0 22-6 * * *", "ends before it begins; write 22-23,0-6$"),
        ("0 22-6/2 * * *", "ends before it begins; write two ranges$"),
        ("0 0 1 nov-feb *", "ends before it begins; write nov-12,1-feb$"),
        ("0 0 * * fri-sun", "the range fri-sun ends before it begins; write fri-7$"),
        ("0 0 * * fri-mon", "ends before it begins; write fri-6,0-mon$"),
        ("0 0 * * 1#6", r'day of the week "1#6": .* written 1#2, with 1 to 5'),
        ("0 0 * * mon-fri#1", "is written 1#2"),
        ("0 0 * * 5L/2", "5L is not one of 0 to 7 or sun to sat"),
        ("0 0 * * L", "L needs a day before it; 5L is the last Friday"),
        ("0 0 * * friL", "the last Friday of the month is written 5L"),
        ("0 0 L-3 * *", "cannot be counted from the end of the month; L is the last day"),
        ("0 0 L/2 * *", "L is not one of 1 to 31"),
        ("0 0 15W * *", r"nearest to a day \(W\) cannot be given; LW is the last weekday"),
        ("0 0 ? * mon", "write \\*$"),
        ("H 3 * * *", "delay the jobs with spread"),
        ("0~59 3 * * *", "delay the jobs with spread"),
        ("0 0 0 * * *", "seconds and years cannot be given"),
        ("CRON_TZ=Asia/Tokyo 0 5 * * *", 'has a time zone; write zone = "Asia/Tokyo"$'),
        ("@every 5m", 'is an interval; write every = "5m"$'),
        ("@reboot", "is no calendar"),
        ("@never", "is unknown"),
        ("* * * *", "has 4 fields"),
        ("* * * * * *", "has 6 fields"),
        ("", "has 0 fields"),
    ],
)
def test_an_invalid_expression_is_refused(expression: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        when(cron=expression)


@pytest.mark.parametrize(
    "expression, as_good_as",
    [
        ("7-7/10 3 * * *", "7 3 * * *"),
        ("0,30-30/7 * * * *", "0,30 * * * *"),
        ("0 3-03/5 * * *", "0 3 * * *"),
        ("0 0 1-1/7 mar-3/2 *", "0 0 1 3 *"),
        ("0 0 * * thu-4/3", "0 0 * * 4"),
        # A step past the end of the range, and Sunday at the end of the week.
        ("5-7/10 3 * * *", "5 3 * * *"),
        ("*/70 3 * * *", "0 3 * * *"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * */7", "0 0 * * sun"),
    ],
)
def test_steps_and_ranges_are_read_as_by_cron(expression: str, as_good_as: str) -> None:
    # Observed with the parser of Debian's cron 3.0pl1-162.
    found, expected = (
        [each.at_ms for each in ticks.next_ticks(when(cron=text), "", 0, 50)]
        for text in (expression, as_good_as)
    )
    assert found == expected


def test_many_due_ticks_of_an_interval_are_counted_without_a_list() -> None:
    second = Every(1000, (dt.date(2026, 1, 1), 0))
    start_ms = round(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
    due = ticks.list_due(second, "", start_ms, start_ms + 366 * DAY_MS, limit=500, keep=10)
    assert due.passed + len(due.ticks) == 366 * 86_400
    assert len(due.ticks) == 10
    assert (due.first_ms, due.last_ms) == (start_ms + 1000, due.ticks[0].at_ms - 1000)
    assert due.ticks[-1].at_ms == start_ms + 366 * DAY_MS
    assert not due.more
    few = ticks.list_due(second, "", start_ms, start_ms + 3500, limit=500, keep=10)
    assert [each.at_ms - start_ms for each in few.ticks] == [1000, 2000, 3000]
    assert few.passed == 0
    assert ticks.list_due(second, "", start_ms, start_ms + 999, limit=500, keep=10).ticks == []


def test_many_due_ticks_of_a_cron_are_passed_over_in_parts() -> None:
    minute = when(cron="* * * * *")
    seen, after_ms = 0, 0
    while True:
        due = ticks.list_due(minute, "", after_ms, 2000 * MINUTE_MS, limit=500, keep=10)
        seen += due.passed + len(due.ticks)
        if not due.more:
            break
        assert due.ticks == []
        after_ms = due.last_ms
    assert seen == 2000
    assert len(due.ticks) >= 10


def test_a_calendar_ends_with_the_last_year() -> None:
    last_ms = round(dt.datetime(9999, 12, 30, tzinfo=dt.UTC).timestamp() * 1000)
    for of in (when(cron="0 0 1 1 *"), when(between="02:00-05:00")):
        assert ticks.next_tick_ms(of, "Europe/Berlin", last_ms) is None
