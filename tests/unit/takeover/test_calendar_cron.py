"""Calendar events of systemd as cron expressions: the next instants of both are the same."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from zoneinfo import available_timezones

import pytest
from cronsim import CronSim

from mythjobs.takeover.systemd.calendar_cron import translate_event
from mythjobs.takeover.systemd.calendar_event import (
    WEEKDAYS,
    CalendarEvent,
    parse_calendar_event,
)

START = dt.datetime(2026, 1, 1)  # noqa: DTZ001 (local time)


def matching_days(event: CalendarEvent) -> Iterator[dt.date]:
    """Yield the days of an event by the definition in systemd.time(7), day by day."""
    for number in range(6 * 366):
        day = START.date() + dt.timedelta(days=number)
        next_month = (day.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
        of_month = (next_month - day).days if event.is_from_end else day.day
        if (
            (not event.years or day.year in event.years)
            and (not event.months or day.month in event.months)
            and (not event.days or of_month in event.days)
            and (not event.weekdays or day.weekday() in event.weekdays)
        ):
            yield day


def elapse(event: CalendarEvent) -> Iterator[dt.datetime]:
    for day in matching_days(event):
        for hour in sorted(event.hours) or range(24):
            for minute in sorted(event.minutes) or range(60):
                yield dt.datetime.combine(day, dt.time(hour, minute))


@pytest.mark.parametrize(
    "text, expression",
    [
        ("minutely", "* * * * *"),
        ("hourly", "0 * * * *"),
        ("daily", "0 0 * * *"),
        ("weekly", "0 0 * * 1"),
        ("monthly", "0 0 1 * *"),
        ("quarterly", "0 0 1 */3 *"),
        ("semiannually", "0 0 1 1,7 *"),
        ("yearly", "0 0 1 1 *"),
        ("Mon..Fri *-*-* 02:00", "0 2 * * 1-5"),
        ("Sat,Sun 03:10:00", "10 3 * * 6,7"),
        ("fri..sunday 4:05", "5 4 * * 5-7"),
        ("Wed, 17:48", "48 17 * * 3"),
        ("*-*-* 6,18:00", "0 6,18 * * *"),
        ("*-*-* 07..23:30", "30 7-23 * * *"),
        ("*:0/15", "*/15 * * * *"),
        ("*:2/3", "2,5,8,11,14,17,20,23,26,29,32,35,38,41,44,47,50,53,56,59 * * * *"),
        ("*-*-1,15 04:00", "0 4 1,15 * *"),
        ("*-1/2-3 00/6:30", "30 */6 3 */2 *"),
        ("*-*~01 23:00", "0 23 L * *"),
        ("Mon *-*-1..7 05:00", "0 5 * * 1#1"),
        ("Sun *-*-8..14", "0 0 * * 0#2"),
        ("Tue,Thu *-*-29..31", "0 0 * * 2#5,4#5"),
        ("Fri *-*~7/1 18:00", "0 18 * * 5L"),
        ("10-15", "0 0 15 10 *"),
        ("2020..2199-*-* 1:00", "0 1 * * *"),
        ("2020/1-*-* 1:00", "0 1 * * *"),
        ("70..2199-*-* 1:00", "0 1 * * *"),
        ("0..23/24:00", "0 0 * * *"),
        ("*-02-29", "0 0 29 2 *"),
    ],
)
def test_events_become_cron_expressions(text: str, expression: str) -> None:
    event = parse_calendar_event(text)
    assert translate_event(event, 2026) == (expression, "")
    after = START - dt.timedelta(minutes=1)
    expected = list(islice(elapse(event), 400))
    assert list(islice(CronSim(expression, after), len(expected))) == expected


@pytest.mark.parametrize(
    "text, why",
    [
        ("Fri *-*-13", "only if they are Fri"),
        ("*-*~03", "counts days from the end"),
        ("2030-01-01 05:00", "bound to certain years"),
        ("2020..2198-*-* 1:00", "bound to certain years"),
        ("2020/2-*-* 1:00", "bound to certain years"),
        ("2003-03-05 05:40", "never elapses again"),
        ("*:*:0/10", "several times a minute"),
        ("*:*:*", "several times a minute"),
    ],
)
def test_events_that_cron_cannot_express_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        translate_event(parse_calendar_event(text), 2026)


def test_seconds_are_a_difference() -> None:
    found = translate_event(parse_calendar_event("*:30:45"), 2026)
    assert found == ("30 * * * *", "starts at second 0 of its minute, not at 45")


# Debian's tzdata has the old names of zones in a package of its own, tzdata-legacy.
ZONES = available_timezones()


@pytest.mark.parametrize(
    "text, zone",
    [
        ("daily UTC", "UTC"),
        ("*-*-* 4:00 utc", "UTC"),
        ("Sun Etc/GMT+5", "Etc/GMT+5"),
        ("weekly Pacific/Auckland", "Pacific/Auckland"),
        ("Mon 05:00 America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        *(
            (f"2003-03-05 05:40 {each}", each)
            for each in ("CET", "Japan", "NZ", "EST5EDT")
            if each in ZONES
        ),
    ],
)
def test_the_time_zone_is_the_last_word(text: str, zone: str) -> None:
    assert parse_calendar_event(text).zone == zone


@pytest.mark.parametrize(
    "text",
    ["", "Sat..Tue 1:2", "Funday", "*-13-01", "25:00", "5:*/10", "10..8:00", "1-2-3-4", "12:60",
     "Mon, Tue 10:00", "daily daily", "@1700000000", "*-*-* 00:00:00:00", "daily Nowhere/City",
     "UTC", "Japan", "1969-*-*", "2200-*-*", "11/15:00", "*:59/1", "*-*-28/4", "*-*~29", "*-*~5/5",
     "*,1:00", "0..5.5:00"],
)  # fmt: skip
def test_what_systemd_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_calendar_event(text)


def test_weekdays_are_numbered_from_monday() -> None:
    assert parse_calendar_event("Mon,sun 1:00").weekdays == {0, 6}
    assert WEEKDAYS[0] == "mon"
