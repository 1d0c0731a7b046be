"""Incidents, snoozes, heartbeat calls and metrics of schedules."""

from __future__ import annotations

import json

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master.notify import requests as r
from mythjobs.master.schedules.requests import RemoveSchedule
from mythjobs.protocol import messages as m
from mythjobs.store.writes import channels
from tests.unit.master.harness import Harness
from tests.unit.master.metrics.test_metrics import Measured
from tests.unit.master.notify.test_turn_notify import add_channel, bell, messages
from tests.unit.master.schedule_harness import DAY_S, HOUR_S, Calendar


def called(master: Harness) -> list[str]:
    """Return the paths of the pending calls of heartbeat URLs."""
    with master.store.snapshot() as tx:
        rows = channels.read_due_messages(tx, master.now.wall_ms, 100)
    urls = [json.loads(e.facts)["url"] for e in rows if channels.is_heartbeat(e.channel_id)]
    return [each.removeprefix("https://hc.example") for each in urls]


def test_the_heartbeat_url_of_a_schedule_is_called_at_start_and_end(master: Harness) -> None:
    calendar = Calendar(master, every="1h", heartbeat="https://hc.example/uuid")
    calendar.advance(HOUR_S)
    [job_id] = master.take_grants()
    master.send_frame(calendar.attic, m.Started(job_id, 1, master.now.wall_ms))
    assert called(master) == ["/uuid/start"]
    master.finish(calendar.attic, job_id)
    assert called(master) == ["/uuid/start", "/uuid"]
    # A short job, whose start is reported with its end.
    calendar.advance(HOUR_S)
    calendar.run_jobs(code=1)
    assert called(master)[2:] == ["/uuid/start", "/uuid/fail"]


def test_a_job_of_a_command_with_a_url_of_its_own_calls_both(master: Harness) -> None:
    calendar = Calendar(master, every="1h", heartbeat="https://hc.example/schedule")
    master.define("backup", heartbeat="https://hc.example/command")
    calendar.advance(HOUR_S)
    [job_id] = master.take_grants()
    master.send_frame(calendar.attic, m.Started(job_id, 1, master.now.wall_ms))
    # The end of the attempt and that of the tick may be decided in different turns.
    master.finish(calendar.attic, job_id)
    assert sorted(called(master)) == [
        "/command", "/command/start", "/schedule", "/schedule/start",
    ]  # fmt: skip
    with master.store.snapshot() as tx:
        rows = channels.read_due_messages(tx, master.now.wall_ms, 100)
    assert len({each.channel_id for each in rows}) == 2


def test_only_the_last_job_of_a_tick_is_an_incident(master: Harness) -> None:
    retry = {"failures": 1, "backoff": "1m"}
    calendar = Calendar(master, every="1d", retry=retry, heartbeat="https://hc.example/uuid")
    calendar.advance(DAY_S)
    calendar.run_jobs(code=1)
    assert [each for each in bell(master) if each[0] == "failed"] == []
    assert called(master) == ["/uuid/start"]
    calendar.advance(61)
    calendar.run_jobs(code=1)
    assert ("failed", "backup", 1) in bell(master)
    assert called(master) == ["/uuid/start", "/uuid/start", "/uuid/fail"]


def test_missed_runs_are_announced_once_for_each_gap(master: Harness) -> None:
    add_channel(master)
    calendar = Calendar(master, every="1h", catch_up="skip")
    calendar.restart(5 * HOUR_S + 600)
    assert messages(master) == [("mail", "night was missed")]
    assert bell(master) == [("missed", "night", 1)]


def test_a_schedule_is_snoozed_by_its_name_and_forgotten_when_removed(master: Harness) -> None:
    add_channel(master)
    calendar = Calendar(master, every="1h", catch_up="skip")
    assert master.request(r.Snooze("night", master.now.wall_ms + 10**9)) == "schedule"
    calendar.restart(5 * HOUR_S + 600)
    assert messages(master) == []
    assert bell(master) == [("missed", "night", 1)]
    master.request(RemoveSchedule("night"))
    assert master.core.state.notify.known == {}
    with pytest.raises(BadRequest, match="no channel, command, schedule or machine"):
        master.request(r.Snooze("night", None))


def test_metrics_have_the_lateness_of_schedules(master: Harness) -> None:
    measured = Measured(master)
    calendar = Calendar(master, every="1h")
    key = ("mythjobs_schedule_lateness_seconds", ("night",))
    assert measured.read()[key] == 0
    calendar.advance(HOUR_S + 300)
    assert measured.read()[key] == 300
    [job_id] = master.take_grants()
    master.send_frame(calendar.attic, m.Started(job_id, 1, master.now.wall_ms))
    assert measured.read()[key] == 0
    assert measured.read()["mythjobs_schedule_paused", ("night",)] == 0
