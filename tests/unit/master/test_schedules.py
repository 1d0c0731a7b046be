"""Schedules: ticks submit jobs, never two at once; each tick leaves a row."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import BadRequest, Conflict, DefinitionError, NoSuchCommand, NoSuchMachine
from mythjobs.master import requests as master_requests
from mythjobs.master.schedules import requests
from mythjobs.store.queries.notifications import list_notifications
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import DAY_S, HOUR_S, MINUTE_S, Calendar, Row

# The harness begins at Tuesday 2026-11-24, 12:00 UTC.


def test_a_tick_submits_a_job_whose_end_is_recorded(master: Harness) -> None:
    calendar = Calendar(master, cron="30 2 * * *")
    calendar.advance_to("2026-11-25 02:29")
    assert calendar.rows() == []
    calendar.advance_to("2026-11-25 02:30")
    assert calendar.rows() == [Row("2026-11-25 02:30", "submitted")]
    [job] = calendar.run_jobs()
    assert calendar.rows() == [Row("2026-11-25 02:30", "succeeded")]
    [shown] = calendar.show()["ticks"]
    assert (shown["job"], shown["tries"]) == (job, 1)
    assert shown["ended_ms"] - shown["started_ms"] == 10_000
    assert master.shown_job(job)["key"] == "schedule:night:2026-11-25T02:30:00Z"
    calendar.advance(DAY_S)
    calendar.run_jobs(code=1)
    assert calendar.rows()[1:] == [Row("2026-11-26 02:30", "failed", reason="exit code 1")]
    assert calendar.notices == []


def test_without_schedules_no_timer_is_set(master: Harness) -> None:
    Calendar(master)
    assert master.core.state.next_due_ms is None


def test_a_tick_is_skipped_while_the_job_of_an_earlier_one_runs(master: Harness) -> None:
    calendar = Calendar(master, cron="*/10 * * * *")
    calendar.advance(35 * MINUTE_S)
    [job] = calendar.run_jobs(seconds=60)
    reason = f"job {job} of an earlier tick had not ended"
    assert calendar.rows() == [
        Row("2026-11-24 12:10", "succeeded"),
        Row("2026-11-24 12:20", "overlapped", 2, reason),
    ]
    calendar.advance(5 * MINUTE_S)
    assert calendar.rows()[2:] == [Row("2026-11-24 12:40", "submitted")]


def test_ticks_may_queue_up_to_a_number_of_jobs(master: Harness) -> None:
    calendar = Calendar(master, cron="*/10 * * * *", overlap="queue", at_most=2)
    calendar.advance(35 * MINUTE_S)
    assert [each.outcome for each in calendar.rows()] == ["submitted", "submitted", "overlapped"]
    [first] = master.take_grants()
    master.finish(calendar.attic, first)
    assert len(master.take_grants()) == 1


def test_a_queued_tick_waits_for_all_earlier_jobs(master: Harness) -> None:
    # Seed 320192 of the simulation: the job of the second tick expired, and that of the third ran
    # beside that of the first.
    calendar = Calendar(master, cron="*/10 * * * *", overlap="queue", at_most=3, start_within="15m")
    calendar.advance_to("2026-11-24 12:10")
    [first] = master.take_grants()
    calendar.advance_to("2026-11-24 12:36")
    assert [each.outcome for each in calendar.rows()][1] == "expired"
    assert master.take_grants() == []
    master.finish(calendar.attic, first)
    assert len(master.take_grants()) == 1


def test_ticks_may_overlap(master: Harness) -> None:
    calendar = Calendar(master, cron="*/10 * * * *", overlap="allow")
    calendar.advance(35 * MINUTE_S)
    assert len(master.take_grants()) == 3


def test_a_schedule_may_run_on_each_machine_that_is_allowed_to(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily", where="each machine")
    cellar = master.join("cellar", 4)
    master.join("shed", 4)
    master.request(master_requests.SetMachine("shed", deny=["backup"]))
    calendar.advance(DAY_S)
    assert calendar.outcomes() == [("2026-11-25 00:00", "submitted")] * 2
    [first], [second] = master.take_grants("attic"), master.take_grants("cellar")
    master.finish(calendar.attic, first)
    calendar.advance(DAY_S)
    # The job on cellar still runs, which does not keep the one on attic from running.
    assert calendar.outcomes()[2:] == [
        ("2026-11-26 00:00", "submitted"),
        ("2026-11-26 00:00", "overlapped"),
    ]
    master.finish(cellar, second)
    assert {each["machine"] for each in calendar.show()["ticks"]} == {"attic", "cellar"}


def test_a_schedule_may_run_on_one_machine(master: Harness) -> None:
    calendar = Calendar(master)
    master.join("cellar", 4)
    calendar.add(cron="@daily", where="cellar")
    calendar.advance(DAY_S)
    assert master.take_grants("attic") == []
    assert len(master.take_grants("cellar")) == 1


def test_hours_end_the_wait_of_a_job(master: Harness) -> None:
    calendar = Calendar(master, between="02:00-05:00")
    master.disconnect(calendar.attic)
    calendar.advance_to("2026-11-25 04:59")
    assert calendar.outcomes() == [("2026-11-25 02:00", "submitted")]
    calendar.advance_to("2026-11-25 05:00")
    assert calendar.outcomes() == [("2026-11-25 02:00", "expired")]
    kinds = [each["kind"] for each in calendar.notices]
    assert kinds == ["late", "missed"]
    assert "had not started by its deadline" in calendar.notices[1]["sentence"]


def test_a_master_that_starts_within_the_hours_still_runs(master: Harness) -> None:
    calendar = Calendar(master, between="02:00-05:00")
    calendar.restart(16 * HOUR_S)
    assert calendar.outcomes() == [("2026-11-25 02:00", "submitted")]
    calendar.run_jobs()
    calendar.restart(DAY_S + 2 * HOUR_S)
    assert calendar.outcomes()[1:] == [("2026-11-26 02:00", "missed")]


def test_a_job_starts_later_by_a_fixed_offset(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily", spread="1h")
    calendar.advance_to("2026-11-25 00:00:01")
    assert master.take_grants() == []
    [tick] = calendar.show()["ticks"]
    start_ms = master.shown_job(tick["job"])["not_before_ms"]
    assert 0 < start_ms - tick["at_ms"] < 3_600_000
    calendar.advance(HOUR_S)
    assert master.take_grants() == [tick["job"]]


def test_the_latest_start_counts_from_the_delayed_start(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily", spread="2h", start_within="10m", late_after="5m")
    calendar.advance_to("2026-11-25 00:00:01")
    [tick] = calendar.show()["ticks"]
    job = master.shown_job(tick["job"])
    assert job["not_before_ms"] - tick["at_ms"] > 600_000
    assert job["deadline_ms"] == job["not_before_ms"] + 600_000
    [late_ms] = [each.late_ms for each in master.core.state.schedules.by_id[1].open]
    assert late_ms == job["not_before_ms"] + 300_000


@pytest.mark.parametrize(
    "given, message",
    [
        ({"on": False, "until_ms": 2**50}, "until: is for a pause"),
        ({"on": False, "reason": "holidays"}, "reason: is for a pause"),
        ({"on": True, "until_ms": 1}, "the end of the pause, Thu 1970-01-01 .* is in the past"),
    ],
)
def test_what_a_pause_would_ignore_is_refused(
    master: Harness, given: dict[str, Any], message: str
) -> None:
    Calendar(master, cron="@daily")
    with pytest.raises(BadRequest, match=message):
        master.request(requests.PauseSchedule("night", **{"until_ms": None, "reason": ""} | given))


def test_a_failed_job_is_followed_by_another(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily", retry={"failures": 1, "backoff": "30m"})
    calendar.advance_to("2026-11-25 00:00")
    [first] = calendar.run_jobs(code=1)
    assert calendar.rows() == [Row("2026-11-25 00:00", "submitted", reason=f"job {first} failed")]
    calendar.advance(30 * MINUTE_S)
    [second] = calendar.run_jobs(code=1)
    [row] = calendar.show()["ticks"]
    assert (row["outcome"], row["job"], row["tries"]) == ("failed", second, 2)
    calendar.advance(HOUR_S)
    assert calendar.run_jobs() == []


def test_a_paused_schedule_records_its_ticks(master: Harness) -> None:
    calendar = Calendar(master, cron="@hourly")
    until_ms = master.now.wall_ms + 5 * 3_600_000 + 1000
    master.request(requests.PauseSchedule("night", True, until_ms, "moving house"))
    assert calendar.show()["next_local"] == "Tue 2026-11-24 18:00 UTC"
    calendar.advance(7 * HOUR_S)
    assert calendar.rows()[0] == Row("2026-11-24 13:00", "paused", 5, "moving house")
    assert calendar.outcomes()[1] == ("2026-11-24 18:00", "submitted")
    assert not calendar.show()["paused"]
    master.request(requests.PauseSchedule("night", True))
    assert calendar.show()["next"] == []
    calendar.advance(HOUR_S)
    master.request(requests.PauseSchedule("night", False))
    calendar.run_jobs()
    calendar.advance(HOUR_S)
    assert calendar.outcomes()[-2:] == [
        ("2026-11-24 20:00", "paused"),
        ("2026-11-24 21:00", "submitted"),
    ]
    assert {each["kind"] for each in calendar.notices} == {"late"}


def test_a_refused_submit_is_a_row_and_one_notice(master: Harness) -> None:
    calendar = Calendar(master, cron="@hourly", arguments={})
    master.define("backup", parameters=[{"name": "disk"}])
    calendar.advance(3 * HOUR_S)
    [row] = calendar.rows()
    assert (row.outcome, row.ticks) == ("refused", 3)
    assert 'requires the parameter "disk"' in row.reason
    [notice] = calendar.notices
    assert (notice["name"], notice["count"]) == ("night", 1)
    assert notice["sentence"].startswith("cannot submit a job: backup requires the parameter")


def test_a_late_job_is_told_once(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily", late_after="10m")
    master.disconnect(calendar.attic)
    calendar.advance_to("2026-11-25 00:09")
    assert calendar.notices == []
    calendar.advance_to("2026-11-25 12:00")
    [notice] = calendar.notices
    assert notice["kind"] == "late"
    assert "has not started; see `mythjobs why 1`" in notice["sentence"]


def test_a_job_that_waits_for_a_run_window_is_not_late(master: Harness) -> None:
    calendar = Calendar(master)
    master.define("backup", windows={"open": ["04:00-06:00"]})
    calendar.add(cron="@daily", late_after="10m")
    calendar.advance_to("2026-11-25 03:59")
    assert calendar.notices == []
    calendar.advance_to("2026-11-25 04:00")
    assert len(calendar.run_jobs()) == 1
    assert calendar.notices == []
    # The window opens, but the job does not start.
    calendar.advance_to("2026-11-26 04:09")
    assert len(master.take_grants()) == 1
    assert calendar.notices == []
    calendar.advance_to("2026-11-26 04:11")
    assert [each["kind"] for each in calendar.notices] == ["late"]


def test_a_schedule_that_runs_too_long_drifts(master: Harness) -> None:
    calendar = Calendar(master, cron="*/10 * * * *")
    for _ in range(6):
        calendar.advance(12 * MINUTE_S)
        granted = master.take_grants()
        calendar.advance(16 * MINUTE_S)
        master.finish(calendar.attic, *granted, seconds=16 * MINUTE_S)
        calendar.advance(2 * MINUTE_S)
    [notice] = [each for each in calendar.notices if each["kind"] != "late"]
    assert notice["kind"] == "drifting"
    cadence = calendar.show()["cadence"]
    assert cadence["asked_s"] == pytest.approx(600)
    assert 1500 < cadence["effective_s"] < 2000
    assert cadence["sentence"].startswith("every 10 min, but runs every ")
    assert cadence["drifting"]


def test_a_job_can_be_submitted_now(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily")
    [job] = master.request(requests.RunSchedule("night", "ben"))
    with pytest.raises(Conflict, match=f"job {job} of night has not ended"):
        master.request(requests.RunSchedule("night", "ben"))
    assert calendar.run_jobs() == [job]
    assert calendar.rows() == [Row("2026-11-24 12:00", "succeeded", 0, "run now by ben")]
    calendar.advance(DAY_S)
    assert calendar.outcomes()[1:] == [("2026-11-25 00:00", "submitted")]


def test_a_job_that_is_submitted_now_waits_for_all_earlier_jobs(master: Harness) -> None:
    # The job of the second tick is cancelled while that of the first still runs.
    calendar = Calendar(master, cron="*/10 * * * *", overlap="queue", at_most=3)
    calendar.advance_to("2026-11-24 12:21")
    [first] = master.take_grants()
    [job] = master.request(requests.RunSchedule("night", "ben"))
    master.request(master_requests.CancelJobs([first + 1], "ben"))
    assert calendar.outcomes()[1] == ("2026-11-24 12:20", "cancelled")
    assert master.take_grants() == []
    master.finish(calendar.attic, first)
    assert master.take_grants() == [job]


def test_a_definition_is_checked_before_it_is_stored(master: Harness) -> None:
    calendar = Calendar(master)
    master.define("copy", parameters=[{"name": "target"}])
    for table, error in (
        ({"command": "restore"}, NoSuchCommand),
        ({"command": "copy"}, BadRequest),
        ({"arguments": {"target": "x"}}, BadRequest),
        ({"where": "cellar"}, NoSuchMachine),
        ({"cron": "61 * * * *"}, DefinitionError),
        ({"command": "run"}, BadRequest),
        ({"start_within": "1h", "late_after": "1h"}, DefinitionError),
    ):
        with pytest.raises(error):
            calendar.add(**{"cron": "@daily"} | table)
    assert master.core.state.schedules.by_id == {}
    master.request(
        requests.DefineSchedule(
            {"name": "night", "command": "backup", "cron": "@daily"}, "anna", dry_run=True
        )
    )
    assert master.core.state.schedules.by_id == {}


def test_a_schedule_can_be_replaced_and_removed(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily")
    with pytest.raises(Conflict, match="is taken"):
        calendar.add(cron="@hourly")
    table: dict[str, object] = {"name": "night", "command": "backup", "cron": "0 18 * * *"}
    assert master.request(requests.DefineSchedule(table, "anna", True))
    assert not master.request(requests.DefineSchedule(table, "anna", True))
    calendar.advance(6 * HOUR_S)
    assert calendar.outcomes() == [("2026-11-24 18:00", "submitted")]
    master.request(requests.RemoveSchedule("night"))
    calendar.advance(10 * DAY_S)
    assert master.core.state.schedules.by_id == {}
    assert len(master.take_grants()) == 1


def test_an_interval_keeps_the_start_of_the_day_on_which_it_was_added(master: Harness) -> None:
    calendar = Calendar(master, every="5h", zone="Europe/Berlin")
    assert calendar.show()["definition"]["start"] == "2026-11-24 00:00"
    assert calendar.show()["next_local"] == "Tue 2026-11-24 15:00 CET"
    calendar.restart(0)
    assert calendar.show()["next_local"] == "Tue 2026-11-24 15:00 CET"


def test_a_job_that_ends_while_the_master_is_down_is_recorded(master: Harness) -> None:
    calendar = Calendar(master, cron="@daily")
    calendar.advance_to("2026-11-25 00:00")
    [job] = [each.job_id for each in master.core.state.schedules.by_id[1].open]
    with master.store.transaction() as tx:
        tx.cursor.execute("UPDATE schedule_tick SET job_id = job_id + 1000")
    calendar.restart(HOUR_S)
    assert calendar.rows() == [Row("2026-11-25 00:00", "cancelled", reason="its job was deleted")]
    assert job == 1


def test_a_further_job_waits_for_the_next_tick_that_was_queued(master: Harness) -> None:
    # Seed 23 of the simulation: the queued job and the retry of the failed one ran at once.
    calendar = Calendar(
        master, cron="*/10 * * * *", overlap="queue", retry={"failures": 1, "backoff": "20s"}
    )
    calendar.advance(25 * MINUTE_S)
    [first] = master.take_grants()
    master.finish(calendar.attic, first, code=1)
    [second] = master.take_grants()
    calendar.advance(MINUTE_S)
    assert master.take_grants() == [], "the retry waits"
    master.finish(calendar.attic, second)
    assert len(master.take_grants()) == 1
    calendar.advance(5 * MINUTE_S)
    assert master.take_grants() == [], "the third tick waits for the retry"


def test_no_further_job_starts_after_the_hours(master: Harness) -> None:
    calendar = Calendar(master, between="02:00-03:00", retry={"failures": 5, "backoff": "25m"})
    for minute in (1, 27, 53):
        calendar.advance_to(f"2026-11-25 02:{minute:02}")
        assert len(calendar.run_jobs(seconds=1, code=1)) == 1
    assert [each.outcome for each in calendar.rows()] == ["failed"]
    calendar.advance(HOUR_S)
    assert master.take_grants() == []
    # Seen: nobody was told, because another job was to follow the failed one.
    with master.store.snapshot() as tx:
        [failed] = list_notifications(tx, unread=True, limit=10)["notifications"]
    assert (failed["kind"], failed["name"], failed["attempt"]) == ("failed", "backup", 1)
    why = "exit code 1; not tried again: the deadline is before the start time"
    assert failed["sentence"] == why
