"""Schedules while time does not pass evenly: daylight saving, a master that is down, suspend, set
clocks. No tick runs twice, none is without a row, and there is no flood."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mythjobs.master.schedules import requests
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Calendar,
    Row,
    assert_complete,
)

# The harness begins at Tuesday 2026-11-24, 12:00 UTC. Changes of clocks after that, and what
# becomes of ticks around them: fixed time, every ten minutes, hours. All times are UTC.
CHANGES = [
    ("Europe/Berlin", "2027-03-28 01:00", "2027-10-31 01:00"),
    ("Europe/London", "2027-03-28 01:00", "2027-10-31 01:00"),
    ("America/New_York", "2027-03-14 07:00", "2027-11-07 06:00"),
    ("America/Santiago", "2027-09-05 04:00", "2027-04-04 03:00"),
    ("Africa/Cairo", "2027-04-29 22:00", "2027-10-28 21:00"),
    ("Asia/Beirut", "2027-03-27 22:00", "2027-10-30 21:00"),
    ("Australia/Lord_Howe", "2027-10-02 15:30", "2027-04-03 15:00"),
    ("Pacific/Auckland", "2027-09-25 14:00", "2027-04-03 14:00"),
]
CASES = [(zone, at, True) for zone, at, _ in CHANGES] + [
    (zone, at, False) for zone, _, at in CHANGES
]


def _in_turn(
    calendar: Calendar, zone: str, change: str, forward: bool
) -> tuple[dt.datetime, str, str]:
    """Set the clock to four hours before a change.

    Return the change, and the first two local times of the skipped or repeated ones.
    """
    at = dt.datetime.fromisoformat(change).replace(tzinfo=dt.UTC)
    calendar.set_clock((at - dt.timedelta(hours=4)).isoformat(" ")[:16])
    before = (at - dt.timedelta(minutes=1)).astimezone(ZoneInfo(zone)) + dt.timedelta(minutes=1)
    local = before if forward else at.astimezone(ZoneInfo(zone))
    return at, f"{local:%H %M}", f"{local + dt.timedelta(minutes=10):%H %M}"


def _text(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


@pytest.mark.slow
@pytest.mark.parametrize("zone, change, forward", CASES)
def test_each_tick_around_a_change_of_the_clocks_leaves_its_row(
    master: Harness, zone: str, change: str, forward: bool
) -> None:
    calendar = Calendar(master)
    at, first, second = _in_turn(calendar, zone, change, forward)
    # All ticks are at full ten minutes, and each job ends before the next one.
    (hour, minute), (_, minute2) = first.split(), second.split()
    calendar.add("fixed", cron=f"{minute},{minute2} {hour} * * *", zone=zone)
    calendar.add("star", cron="*/10 * * * *", zone=zone)
    end = dt.time(int(hour), int(minute2) + 15)
    calendar.add("hours", between=f"{hour}:{minute}-{end:%H:%M}", zone=zone)
    calendar.add("real", every="30m", zone=zone)
    size = dt.timedelta(minutes=30 if zone == "Australia/Lord_Howe" else 60)
    stop = at + dt.timedelta(hours=3)
    while master.now.wall_ms < stop.timestamp() * 1000 - 500:
        calendar.advance(10 * MINUTE_S - master.now.wall_ms / 1000 % 600)
        calendar.run_jobs(seconds=0.5)
    calendar.advance_to(_text(stop + dt.timedelta(minutes=1)))
    calendar.run_jobs()
    expected_at = at if forward else at - size
    later = expected_at + dt.timedelta(minutes=10)
    if forward:
        # Both times are skipped: one run at the end of the gap.
        assert [each[:3] for each in calendar.rows("fixed")] == [(_text(at), "succeeded", 1)]
        [row] = calendar.rows("fixed")
        assert row.reason.startswith("2 local times (")
    else:
        # Both times run the first time; the second time each leaves a row.
        assert calendar.outcomes("fixed") == [
            (_text(expected_at), "succeeded"),
            (_text(later), "succeeded"),
            (_text(at), "dst"),
            (_text(at + dt.timedelta(minutes=10)), "dst"),
        ]
    assert calendar.outcomes("hours") == [(_text(expected_at), "succeeded")]
    star = calendar.rows("star")
    times = [at + dt.timedelta(minutes=10 * number) for number in range(-23, 19)]
    assert [each.at for each in star] == [_text(each) for each in times]
    assert {each.outcome for each in star} == {"succeeded"}
    noted = [each for each in star if each.reason]
    assert [each.at for each in noted] == ([_text(at)] if forward else [])
    real = calendar.rows("real")
    assert len({each.at for each in real}) == len(real) == 14
    assert {each.outcome for each in real} == {"succeeded"}
    assert calendar.notices == []


@pytest.mark.parametrize("catch_up, jobs", [("skip", 0), ("last", 1), ("all", 3)])
def test_a_master_that_was_down_for_three_days_catches_up(
    master: Harness, catch_up: str, jobs: int
) -> None:
    extra = {"at_most": 3} if catch_up == "all" else {}
    calendar = Calendar(master, cron="30 * * * *", catch_up=catch_up, **extra)
    calendar.advance(HOUR_S)
    assert len(calendar.run_jobs()) == 1
    calendar.restart(3 * DAY_S)
    done: list[int] = []
    while more := calendar.run_jobs():
        assert len(more) == 1, "one after the other"
        done += more
    assert len(done) == jobs
    rows = calendar.rows()
    assert rows[1] == Row("2026-11-24 13:30", "missed", 72 - jobs, "the master was not running")
    assert [each.outcome for each in rows[2:]] == ["succeeded"] * jobs
    assert all(each.reason.startswith("caught up: the master was not running") for each in rows[2:])
    assert_complete(calendar, "night", since="2026-11-24 12:00")
    [notice] = [each for each in calendar.notices if each["kind"] == "missed"]
    assert notice["count"] == 1
    assert f"{72 - jobs} runs were missed, from 2026-11-24 13:30" in notice["sentence"]


@pytest.mark.parametrize(
    "when", [{"every": "1s"}, {"cron": "* * * * *"}, {"cron": ["*/2 * * * *", "1 * * * *"]}]
)
def test_many_missed_ticks_are_few_rows_and_one_job(master: Harness, when: dict[str, Any]) -> None:
    calendar = Calendar(master)
    calendar.add(**when, catch_up="last")
    calendar.restart(3 * DAY_S)
    assert len(calendar.rows()) <= 3
    assert len(master.take_grants()) == 1
    assert len(calendar.notices) == 1
    if "cron" in when:
        assert_complete(calendar, "night", since="2026-11-24 12:00")
    else:
        assert sum(each.ticks for each in calendar.rows()) == 3 * 86_400


def test_a_short_restart_misses_nothing(master: Harness) -> None:
    calendar = Calendar(master, cron="30 2 * * *", catch_up="skip")
    calendar.advance_to("2026-11-25 02:29:30")
    calendar.restart(50)
    assert calendar.rows() == [Row("2026-11-25 02:30", "submitted")]


def test_a_suspended_machine_misses_ticks_and_runs_the_last(master: Harness) -> None:
    calendar = Calendar(master, cron="0 * * * *")
    calendar.suspend(8 * HOUR_S + 600)
    assert calendar.rows() == [
        Row("2026-11-24 13:00", "missed", 7, "the master's machine was suspended"),
        Row("2026-11-24 20:00", "submitted", 1, "caught up: the master's machine was suspended"),
    ]
    assert_complete(calendar, "night", since="2026-11-24 12:00")


def test_a_busy_master_misses_ticks(master: Harness) -> None:
    calendar = Calendar(master, cron="* * * * *", catch_up="skip")
    calendar.pass_over(10 * MINUTE_S)
    calendar.settle()
    why = "the master was too busy, or could not write to its store"
    assert calendar.rows()[0] == Row("2026-11-24 12:01", "missed", 9, why)


@pytest.mark.slow
def test_a_clock_that_is_set_a_year_ahead_and_back(master: Harness) -> None:
    calendar = Calendar(master)
    calendar.add("hourly", cron="0 * * * *")
    calendar.add("daily", cron="30 2 * * *", catch_up="all", at_most=2)
    calendar.advance(HOUR_S)
    calendar.run_jobs()
    calendar.add("seconds", every="1s", catch_up="skip")
    calendar.set_clock("2027-11-24 13:00:30")
    calendar.settle()
    calendar.run_jobs()
    reason = "the clock of the master's machine was set forward"
    # A tick of the present is on time. The skipped year is one row, and one notice each.
    assert [each[:3] for each in calendar.rows("hourly")] == [
        ("2026-11-24 13:00", "succeeded", 1),
        ("2026-11-24 14:00", "missed", 8759),
        ("2027-11-24 13:00", "succeeded", 1),
    ]
    assert calendar.rows("daily")[0] == Row("2026-11-25 02:30", "missed", 363, reason)
    assert len(calendar.rows("daily")) == 3
    missed = {each["name"]: each for each in calendar.notices if each["kind"] == "missed"}
    assert sorted(missed) == ["daily", "hourly", "seconds"]
    assert (missed["hourly"]["count"], missed["daily"]["count"]) == (1, 1)
    assert missed["hourly"]["sentence"].endswith(reason)

    calendar.set_clock("2026-11-24 13:10")
    calendar.settle()
    # The ticks of the skipped year are to come again; those with a job keep it.
    assert [each[:3] for each in calendar.rows("hourly")] == [
        ("2026-11-24 13:00", "succeeded", 1),
        ("2027-11-24 13:00", "succeeded", 1),
    ]
    assert calendar.show("hourly")["next_local"] == "Tue 2026-11-24 14:00 UTC"
    calendar.run_jobs()
    master.request(requests.RemoveSchedule("seconds"))
    calendar.advance(2 * DAY_S)
    calendar.run_jobs()
    assert_complete(calendar, "hourly", since="2026-11-24 12:00")
    assert_complete(calendar, "daily", since="2026-11-24 12:00")

    # In a year, the tick that ran already does not run again.
    calendar.set_clock("2027-11-24 12:59:30")
    calendar.settle()
    calendar.run_jobs()
    calendar.advance(MINUTE_S)
    assert calendar.run_jobs() == []
    assert_complete(calendar, "hourly", since="2026-11-24 12:00")


def test_a_clock_that_is_set_back_by_an_hour_repeats_nothing(master: Harness) -> None:
    calendar = Calendar(master, cron="*/10 * * * *")
    for _ in range(9):
        calendar.advance(10 * MINUTE_S)
        calendar.run_jobs(seconds=1)
    rows = calendar.outcomes()
    calendar.set_clock("2026-11-24 12:25")
    calendar.settle()
    for _ in range(9):
        calendar.advance(10 * MINUTE_S)
        calendar.run_jobs(seconds=1)
    assert calendar.outcomes()[: len(rows)] == rows
    assert_complete(calendar, "night", since="2026-11-24 12:00")


def test_a_row_of_several_ticks_does_not_span_one_that_has_run(master: Harness) -> None:
    # Seed 342658 of the simulation: the clock is set back, the schedule is paused, the clock is set
    # again, and the tick that had run before is among those that the pause skips.
    calendar = Calendar(master, cron="*/10 * * * *")
    pause, resume = (requests.PauseSchedule("night", on) for on in (True, False))
    master.request(pause)
    calendar.advance_to("2026-11-24 12:15")
    master.request(resume)
    calendar.advance_to("2026-11-24 12:20")
    assert calendar.run_jobs()
    calendar.set_clock("2026-11-24 12:05")
    calendar.settle()
    master.request(pause)
    calendar.set_clock("2026-11-24 12:45")
    calendar.settle()
    assert [(each.at, each.outcome, each.ticks) for each in calendar.rows()] == [
        ("2026-11-24 12:10", "paused", 1),
        ("2026-11-24 12:20", "succeeded", 1),
        ("2026-11-24 12:30", "paused", 2),
    ]


def test_a_gap_in_the_midst_of_a_clock_that_is_set_back(master: Harness) -> None:
    # Rows of several ticks that begin before the present and end after it are cut.
    calendar = Calendar(master, cron="0 * * * *", catch_up="skip")
    calendar.restart(DAY_S + 600)
    assert calendar.rows() == [Row("2026-11-24 13:00", "missed", 24, "the master was not running")]
    calendar.set_clock("2026-11-24 20:30")
    calendar.settle()
    assert calendar.rows() == [Row("2026-11-24 13:00", "missed", 8, "the master was not running")]
    calendar.advance(2 * HOUR_S)
    assert_complete(calendar, "night", since="2026-11-24 12:00")


def test_a_restart_in_the_midst_of_a_long_gap(master: Harness) -> None:
    calendar = Calendar(master, cron="* * * * *", catch_up="skip")
    calendar.pass_over(2 * DAY_S)
    master.restart()
    master.turn()
    assert master.core.state.next_due_ms is not None
    assert master.core.state.next_due_ms <= master.now.wall_ms
    master.restart()
    calendar.settle()
    assert_complete(calendar, "night", since="2026-11-24 12:00")
    assert len(calendar.rows()) == 2
