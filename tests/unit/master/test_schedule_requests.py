"""Requests about a schedule that come while its ticks wait for a turn: none of them is lost."""

from __future__ import annotations

import pytest

from mythjobs.errors import Conflict
from mythjobs.master import requests as master_requests
from mythjobs.master.schedules import requests
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import HOUR_S, MINUTE_S, Calendar, Row

# The harness begins at Tuesday 2026-11-24, 12:00 UTC.


def test_a_tick_that_is_due_at_an_edit_is_decided_by_the_earlier_definition(
    master: Harness,
) -> None:
    calendar = Calendar(master, cron="@hourly")
    calendar.pass_over(2 * HOUR_S + 1)  # the turns stand still, as the disk of the store is full
    definition: dict[str, object] = {"name": "night", "command": "backup", "cron": "*/20 * * * *"}
    assert master.request(requests.DefineSchedule(definition, "anna", True))
    assert calendar.outcomes() == [
        ("2026-11-24 13:00", "missed"),
        ("2026-11-24 14:00", "submitted"),
    ]
    calendar.run_jobs()
    calendar.advance(20 * MINUTE_S)
    assert calendar.outcomes()[2:] == [("2026-11-24 14:20", "submitted")]


@pytest.mark.parametrize("on, outcome", [(True, "submitted"), (False, "paused")])
def test_a_tick_that_is_due_at_a_pause_or_its_end_is_decided_before(
    master: Harness, on: bool, outcome: str
) -> None:
    calendar = Calendar(master, cron="@hourly")
    master.request(requests.PauseSchedule("night", not on))
    calendar.pass_over(HOUR_S + 1)
    master.request(requests.PauseSchedule("night", on))
    assert calendar.outcomes() == [("2026-11-24 13:00", outcome)]


def test_a_request_in_the_first_turn_after_a_restart_does_not_hide_why_ticks_were_missed(
    master: Harness,
) -> None:
    calendar = Calendar(master, cron="@hourly", catch_up="skip")
    calendar.pass_over(HOUR_S + 120)
    master.restart()
    calendar.add("other", cron="@hourly")
    why = "the master was not running"
    assert calendar.rows() == [Row("2026-11-24 13:00", "missed", reason=why)]


def test_a_command_is_not_removed_while_a_schedule_uses_it(master: Harness) -> None:
    # Seen: the removal succeeded, and each tick of the schedule was refused from then on.
    calendar = Calendar(master, cron="@hourly")
    master.request(requests.PauseSchedule("night", True))
    remove = master_requests.RemoveCommand("backup")
    with pytest.raises(Conflict) as refused:
        master.request(remove)
    assert refused.value.sentence == (
        "cannot remove backup: schedule night uses it; `mythjobs schedule remove night` removes a "
        "schedule, `mythjobs schedule edit night` can give it another command"
    )
    for number in range(11):
        calendar.add(f"a{number:02}", cron="@daily")
    with pytest.raises(Conflict, match=r"schedules use it: a00, a01, .*, a09 and 2 more; "):
        master.request(remove)
    for name in ("night", *(f"a{number:02}" for number in range(11))):
        master.request(requests.RemoveSchedule(name))
    assert master.request(remove) == "backup"
