"""Definitions of schedules: what is accepted, and errors that name the key."""

from __future__ import annotations

import datetime as dt

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.schedule import (
    ANY_MACHINE,
    EACH_MACHINE,
    Between,
    Cron,
    Every,
    Schedule,
    describe_when,
    schedule_from_table,
)
from mythjobs.model.tick import format_tick, tick_key

BACKUP = {"name": "nightly-backup", "command": "backup"}


def parse(**table: object) -> Schedule:
    return schedule_from_table(BACKUP | table)


def test_a_definition_with_every_key() -> None:
    found = parse(
        cron=["30  2 * * *", "@weekly"], zone="Europe/Berlin", where="attic", dst="clock",
        catch_up="all", overlap="queue", at_most=3, spread="10m", start_within="2h",
        late_after="30m", priority=5, summary="Back up", arguments={"target": "/srv", "level": 3},
        retry={"failures": 2, "backoff": "30m"},
    )  # fmt: skip
    assert found == Schedule(
        "nightly-backup", "backup", Cron(("30 2 * * *", "0 0 * * 0"), "clock"), "Back up",
        "Europe/Berlin", "attic", "all", "queue", 3, 600.0, 7200.0, 1800.0, 5,
        {"target": "/srv", "level": 3}, 2, 1800.0,
    )  # fmt: skip
    assert found.machine == "attic"


def test_the_defaults() -> None:
    found = parse(cron="@daily")
    assert (found.where, found.machine, found.zone) == (ANY_MACHINE, "", "")
    assert (found.catch_up, found.overlap, found.at_most) == ("last", "skip", 10)
    assert (found.start_within_s, found.late_after_s, found.failures) == (None, None, 0)
    assert parse(cron="@daily", where="each machine").machine == ""
    assert parse(between="02:00-05:00").catch_up == "skip"


def test_the_three_kinds() -> None:
    assert parse(cron="@Daily").when == Cron(("0 0 * * *",))
    weekdays = frozenset(range(5))
    assert parse(between="mon-fri 22:00-05:00").when == Between(
        "mon-fri 22:00-05:00", weekdays, 1320, 420
    )
    assert parse(every="90m").when == Every(5_400_000)
    start = parse(every="6h", start="2026-11-03 06:30").when
    assert start == Every(21_600_000, (dt.date(2026, 11, 3), 390))
    assert [describe_when(each) for each in (start, parse(between="02:00-05:00").when)] == [
        "every 6h",
        "between 02:00-05:00",
    ]
    assert describe_when(parse(cron=["@daily", "@hourly"]).when) == "0 0 * * *; 0 * * * *"


@pytest.mark.parametrize(
    "table, key, why",
    [
        ({}, "cron", "give one of"),
        ({"cron": "@daily", "every": "6h"}, "cron", "found cron and every"),
        ({"cron": "@daily", "when": "x"}, "when", "unknown key"),
        ({"shell": "backup"}, "shell", "mythjobs command add"),
        ({"cron": 5}, "cron", "must be text"),
        ({"cron": []}, "cron", "1 to 50"),
        ({"cron": "@daily", "name": "Nightly Backup"}, "name", "is invalid"),
        ({"cron": "@daily", "command": ""}, "command", "is missing"),
        ({"cron": "@daily", "zone": "Mars/Olympus"}, "zone", "not known"),
        ({"cron": "@daily", "where": "every machine"}, "where", EACH_MACHINE),
        ({"cron": "@daily", "where": ""}, "where", EACH_MACHINE),
        ({"cron": "@daily", "dst": "twice"}, "dst", "once, clock"),
        ({"every": "6h", "dst": "once"}, "dst", "is for cron"),
        ({"cron": "@daily", "start": "2026-11-03"}, "start", "is for every"),
        ({"every": "6h", "start": "tomorrow"}, "start", "local time"),
        ({"every": "6h", "start": "9999-01-01"}, "start", "local time"),
        ({"every": "500ms"}, "every", "at least 1s"),
        ({"every": "900d"}, "every", "at most 366d"),
        ({"between": "02:00"}, "between", "range of hours"),
        ({"between": "02:00-05:00 at most 1"}, "between", "level"),
        ({"between": "02:00-05:00", "catch_up": "all"}, "catch_up", "between"),
        ({"between": "02:00-05:00", "start_within": "1h"}, "start_within", "between"),
        ({"cron": "@daily", "at_most": 5}, "at_most", "needs catch_up"),
        ({"cron": "@daily", "catch_up": "all", "at_most": 101}, "at_most", "1 to 100"),
        ({"cron": "@daily", "arguments": {"a": [1]}}, "arguments.a", "text or a number"),
        ({"cron": "@daily", "arguments": "a=1"}, "arguments", "must be a table"),
        ({"cron": "@daily", "retry": {"backoff": "1m"}}, "retry.backoff", "failures"),
        ({"cron": "@daily", "priority": 101}, "priority", "-100 to 100"),
    ],
)
def test_an_invalid_definition_names_the_key(table: dict[str, object], key: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=why) as caught:
        parse(**table)
    assert caught.value.key == key


def test_the_key_of_a_tick_is_its_instant_in_utc() -> None:
    assert format_tick(1_795_521_600_000) == "2026-11-24T12:00:00Z"
    assert tick_key("night", 1_795_521_600_000) == "schedule:night:2026-11-24T12:00:00Z"
    assert tick_key("night", 1_795_521_600_000, 3) == "schedule:night:2026-11-24T12:00:00Z:3"
