"""Stored schedules: those whose definitions cannot be used are a visible problem, and news."""

from __future__ import annotations

import pytest

from mythjobs.errors import Conflict
from mythjobs.master.schedules import overview, requests
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import HOUR_S, Calendar


def test_a_stored_definition_that_would_be_refused_today_still_runs(master: Harness) -> None:
    calendar = Calendar(master, cron="0 18 * * *", start_within="1h")
    with master.store.transaction() as tx:
        tx.cursor.execute(
            "UPDATE schedule SET definition = json_set(definition, '$.late_after', '2h')"
        )
    calendar.restart(60)
    calendar.advance(6 * HOUR_S)
    assert calendar.outcomes() == [("2026-11-24 18:00", "submitted")]


def test_a_schedule_of_a_newer_version_is_shown_and_does_not_run(master: Harness) -> None:
    calendar = Calendar(master, cron="@hourly")
    with master.store.transaction() as tx:
        tx.cursor.execute('UPDATE schedule SET definition = \'{"moon": "full"}\'')
    calendar.restart(3 * HOUR_S)
    assert "moon: unknown key" in calendar.show()["error"]
    assert calendar.rows() == []
    with pytest.raises(Conflict, match="cannot be used"):
        master.request(requests.RunSchedule("night", "anna"))


def test_a_schedule_whose_zone_became_unknown_is_news_each_day(master: Harness) -> None:
    calendar = Calendar(master, cron="0 12 * * *", zone="Europe/Berlin")

    def rename_zone(old: str, new: str) -> None:
        with master.store.transaction() as tx:
            tx.cursor.execute(
                f"UPDATE schedule SET definition = replace(definition, '{old}', '{new}')"
            )

    rename_zone("Europe/Berlin", "Europe/Gone")  # as tzdata has done to some
    calendar.restart(HOUR_S)
    [notice] = calendar.notices
    why = 'zone: time zone "Europe/Gone" is not known on this machine'
    assert (notice["kind"], notice["name"], notice["count"]) == ("missed", "night", 1)
    assert notice["sentence"].startswith(f"no jobs are submitted: {why}")
    [unusable] = overview.list_unusable(master.core.state)
    assert unusable["name"] == "night"
    assert unusable["error"].startswith(why)
    assert calendar.show()["command"] == "backup"
    calendar.advance(23 * HOUR_S)
    assert [each["id"] for each in calendar.notices] == [notice["id"]]
    calendar.advance(2 * HOUR_S)
    assert [each["count"] for each in calendar.notices] == [1, 1]

    rename_zone("Europe/Gone", "Europe/Berlin")
    calendar.restart(HOUR_S)
    assert overview.list_unusable(master.core.state) == []
    assert calendar.outcomes() == [("2026-11-25 11:00", "submitted")]  # caught up


def test_an_edit_of_a_schedule_that_could_not_be_used_makes_up_for_missed_ticks(
    master: Harness,
) -> None:
    calendar = Calendar(master, cron="@hourly")
    with master.store.transaction() as tx:
        tx.cursor.execute('UPDATE schedule SET definition = \'{"moon": "full"}\'')
    calendar.restart(3 * HOUR_S)
    definition: dict[str, object] = {"name": "night", "command": "backup", "cron": "@hourly"}
    master.request(requests.DefineSchedule(definition, "anna", True))
    assert calendar.outcomes() == [
        ("2026-11-24 13:00", "missed"),
        ("2026-11-24 15:00", "submitted"),
    ]
