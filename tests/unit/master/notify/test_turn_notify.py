"""Notifications of a master core on a real store: what turns store, and what they send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mythjobs.errors import BadRequest, NoSuchChannel
from mythjobs.master.attempts.restore import prepare_restored_store
from mythjobs.master.notify import requests as r
from mythjobs.model.incident import DEFAULT_KINDS
from mythjobs.store.queries.notifications import list_messages, list_notifications
from mythjobs.store.writes import channels
from tests.unit.master.harness import HOUR_S, Harness


def add_channel(master: Harness, name: str = "mail", **fields: Any) -> None:
    table = {
        "url": "sealed",
        "shown": "json://…",
        "kinds": list(DEFAULT_KINDS),
        "commands": [],
        "template": "",
    } | fields
    master.request(r.AddChannel(name, **table))


def messages(master: Harness, state: str = "pending") -> list[tuple[str, str]]:
    """Return (channel, title) of messages in a state, oldest first."""
    with master.store.snapshot() as tx:
        found = list_messages(tx, 1000)["messages"]
    return [(each["channel"], each["title"]) for each in found[::-1] if each["state"] == state]


def bell(master: Harness, *, unread: bool = True) -> list[tuple[str, str, int]]:
    with master.store.snapshot() as tx:
        found = list_notifications(tx, unread=unread, limit=100)["notifications"]
    return [(each["kind"], each["name"], each["count"]) for each in found]


def deliver(master: Harness, error: str = "") -> None:
    """Report the result of a try for each message that is due."""
    with master.store.snapshot() as tx:
        due = channels.read_due_messages(tx, master.now.wall_ms, 1000)
    results = [
        r.DeliveryResult(e.message_id, e.channel_id, e.topic, e.created_ms, e.tries + 1, error)
        for e in due
    ]
    master.request(r.RecordDeliveries(results))


def run_job(master: Harness, connection: int, code: int = 1, command: str = "flag") -> int:
    job_id = master.submit(command).id
    assert master.take_grants() == [job_id]
    master.finish(connection, job_id, code=code)
    return job_id


def test_a_failed_job_is_a_notification_and_a_message(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    run_job(master, connection, code=3)
    assert bell(master) == [("failed", "flag", 1)]
    assert messages(master) == [("mail", "flag failed")]


def test_without_channels_the_notification_is_all(master: Harness) -> None:
    master.define()
    run_job(master, master.join())
    assert bell(master) == [("failed", "flag", 1)]
    assert messages(master) == []


def test_successes_and_cancelled_jobs_are_no_incidents(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    run_job(master, connection, code=0)
    master.disconnect(connection)
    job_id = master.submit().id
    master.request(_cancel(job_id))
    assert bell(master) == []


def _cancel(job_id: int) -> Any:
    from mythjobs.master import requests

    return requests.CancelJobs([job_id], "anna")


def test_only_the_failure_after_the_last_retry_is_an_incident(master: Harness) -> None:
    master.define(retry={"failures": 1, "backoff": "1s"})
    connection = master.join()
    job_id = master.submit().id
    for expected in (0, 1):
        assert master.take_grants() == [job_id]
        master.finish(connection, job_id, code=1)
        assert len(bell(master)) == expected
        master.advance(5)


def test_a_thousand_failures_are_counted_and_cause_three_messages(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join(cores=1000)
    ids = [each for _ in range(4) for each in master.queue(250)]
    taken: list[int] = []
    while len(taken) < 1000:
        more = master.take_grants()
        taken += more
        master.advance(60 / 1000 * len(more))
        master.finish(connection, *more, code=1)
        deliver(master)
    assert sorted(taken) == ids
    for _ in range(48):
        master.advance(HOUR_S / 2)
        deliver(master)
    assert bell(master) == [("failed", "flag", 1000)]
    sent = messages(master, "sent")
    assert len(sent) <= 3
    assert sent[-1] == ("mail", "flag failed 1,000 times")


def test_notifications_survive_a_restart(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    run_job(master, connection)
    run_job(master, connection)
    master.restart()
    master.advance(120)  # the second failure is announced by the new master
    assert messages(master) == [("mail", "flag failed 2 times")]
    connection = master.join()
    run_job(master, connection, code=0)
    master.advance(HOUR_S)
    assert messages(master)[-1] == ("mail", "flag succeeds again")
    assert master.core.state.notify.failing == frozenset()


def test_a_newer_message_replaces_one_that_was_not_sent(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    run_job(master, connection)
    for _ in range(9):
        run_job(master, connection)
    master.advance(120)
    assert messages(master) == [("mail", "flag failed 10 times")]
    assert messages(master, "replaced") == [("mail", "flag failed")]


def test_channels_get_their_kinds_and_commands(master: Harness) -> None:
    master.define()
    master.define("copy")
    add_channel(master, "copies", commands=["copy"])
    add_channel(master, "machines", kinds=["lost"])
    connection = master.join()
    run_job(master, connection)
    run_job(master, connection, command="copy")
    assert messages(master) == [("copies", "copy failed")]


def test_a_command_chooses_its_incidents_and_template(master: Harness) -> None:
    master.define(notify={"events": ["held"]})
    master.define("copy", notify={"template": "{name} broke\nsee {show}"})
    add_channel(master)
    connection = master.join()
    run_job(master, connection)
    run_job(master, connection, command="copy")
    assert bell(master) == [("failed", "copy", 1), ("failed", "flag", 1)]
    with master.store.snapshot() as tx:
        [row] = channels.read_due_messages(tx, master.now.wall_ms, 10)
    assert row.template == "{name} broke\nsee {show}"


def test_a_failing_channel_is_reported_through_the_others(master: Harness) -> None:
    master.define()
    add_channel(master, "dead")
    add_channel(master, "phone", kinds=["lost"])
    run_job(master, master.join())
    for seconds in (0, 31, 121):
        master.advance(seconds)
        assert ("phone", "notification channel dead fails") not in messages(master)
        deliver(master, "connection refused")
    assert ("phone", "notification channel dead fails") in messages(master)
    assert ("channel", "dead", 1) in bell(master)
    row = master.core.state.notify.targets["dead"].row
    assert (row.failures, row.error) == (3, "connection refused")
    assert row.failing_ms == master.now.wall_ms

    master.advance(601)
    deliver(master)
    assert master.core.state.notify.targets["dead"].row.failing_ms is None
    assert ("channel", "channel 1") not in master.core.state.notify.known


def test_a_message_that_fails_for_a_day_is_given_up(master: Harness) -> None:
    master.define()
    add_channel(master)
    run_job(master, master.join())
    tries = 0
    while messages(master):
        deliver(master, "no")
        tries += 1
        master.advance(12 * HOUR_S)
        assert tries < 10
    assert messages(master, "failed") == [("mail", "flag failed")]


def test_the_first_try_may_come_days_later(master: Harness) -> None:
    """The master was not running, and when it starts again, the network is not up yet."""
    master.define()
    add_channel(master)
    run_job(master, master.join())
    master.advance(60 * HOUR_S)
    deliver(master, "no network")
    assert messages(master) == [("mail", "flag failed")]
    master.advance(31)
    deliver(master)
    assert messages(master, "sent") == [("mail", "flag failed")]


def test_a_pending_message_about_machines_is_not_replaced_by_one_about_others(
    master: Harness,
) -> None:
    add_channel(master)
    connections = [master.join(f"m{number}") for number in range(4)]
    master.turn()
    for first in (0, 2):
        for connection in connections[first : first + 2]:
            master.disconnect(connection)
        master.advance(200)
        master.turn(r.ConditionsFound([first + 1, first + 2], [], []))
    assert messages(master) == [
        ("mail", "2 machines are not reachable: m0, m1"),
        ("mail", "2 machines are not reachable: m2, m3"),
    ]


def test_a_snoozed_channel_gets_one_message_afterwards(master: Harness) -> None:
    master.define()
    add_channel(master)
    assert master.request(r.Snooze("mail", master.now.wall_ms + 7_200_000)) == "channel"
    connection = master.join()
    for _ in range(3):
        run_job(master, connection)
        master.advance(700)
    with master.store.snapshot() as tx:
        assert channels.read_due_messages(tx, master.now.wall_ms, 10) == []
    master.advance(2 * HOUR_S)
    with master.store.snapshot() as tx:
        assert len(channels.read_due_messages(tx, master.now.wall_ms, 10)) == 1


def test_settings_without_effect_are_refused(master: Harness) -> None:
    master.define()
    with pytest.raises(BadRequest, match="would get nothing: lost and returned is about machines"):
        add_channel(master, kinds=["lost", "returned"], commands=["flag"])
    add_channel(master, kinds=["lost", "failed"], commands=["flag"])
    with pytest.raises(BadRequest, match=r"the end of the snooze, .*, is in the past"):
        master.request(r.Snooze("flag", master.now.wall_ms))


def test_a_snoozed_command_is_announced_afterwards_with_its_count(master: Harness) -> None:
    master.define()
    add_channel(master)
    assert master.request(r.Snooze("flag", master.now.wall_ms + 7_200_000)) == "command"
    connection = master.join()
    for _ in range(3):
        run_job(master, connection)
    assert messages(master) == []
    master.advance(2 * HOUR_S + 1)
    assert messages(master) == [("mail", "flag failed 3 times")]


def test_read_notifications_become_unread_with_the_next_incident(master: Harness) -> None:
    master.define()
    connection = master.join()
    run_job(master, connection)
    assert master.request(r.MarkRead(None)) == [1]
    assert bell(master) == []
    assert bell(master, unread=False) == [("failed", "flag", 1)]
    run_job(master, connection)
    assert bell(master) == [("failed", "flag", 2)]


def test_a_missed_deadline_is_an_incident(master: Harness) -> None:
    master.define()
    add_channel(master)
    for _ in range(3):
        master.submit(deadline_ms=master.now.wall_ms + 60_000)
    master.advance(61)
    assert bell(master) == [("missed", "flag", 3)]
    assert messages(master) == [("mail", "flag was missed 3 times")]


def test_batches_are_reported_to_channels_that_want_them(master: Harness) -> None:
    master.define()
    add_channel(master, kinds=["batch"])
    connection = master.join()
    from tests.unit.master.test_turn_cost import _insert_batch

    _insert_batch(master, 2, last=True)
    master.turn()
    ids = master.take_grants()
    master.finish(connection, ids[0], code=1)
    assert messages(master) == []
    master.finish(connection, *ids[1:])
    assert messages(master) == [("mail", "flag is done")]
    with master.store.snapshot() as tx:
        [row] = channels.read_due_messages(tx, master.now.wall_ms, 10)
    assert json.loads(row.facts)[0]["detail"] == "batch 1: 1 succeeded, 1 failed"


def test_a_command_with_a_heartbeat_url_calls_it_at_start_and_end(master: Harness) -> None:
    from mythjobs.protocol import messages as m

    master.define(heartbeat="https://hc.example/uuid")
    master.restart()
    connection = master.join()
    for code in (0, 3):
        job_id = master.submit().id
        assert master.take_grants() == [job_id]
        if code == 0:  # the start of a short job may be reported with its end
            master.send_frame(connection, m.Started(job_id, 1, master.now.wall_ms))
        master.finish(connection, job_id, code=code)
    with master.store.snapshot() as tx:
        rows = channels.read_due_messages(tx, master.now.wall_ms, 10)
    assert [json.loads(each.facts)["url"].removeprefix("https://hc.example") for each in rows] == [
        "/uuid/start",
        "/uuid",
        "/uuid/start",
        "/uuid/3",
    ]
    deliver(master)
    assert messages(master, "sent") == messages(master) == []  # calls that succeeded leave no row


def test_a_removed_channel_gets_no_more_messages(master: Harness) -> None:
    master.define()
    add_channel(master)
    run_job(master, master.join())
    master.request(r.RemoveChannel("mail"))
    with master.store.snapshot() as tx:
        assert channels.read_due_messages(tx, master.now.wall_ms, 10) == []
    with pytest.raises(NoSuchChannel):
        master.request(r.RemoveChannel("mail"))


def test_turns_without_incidents_run_no_statement_for_notifications(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    executed: list[str] = []
    master.store._writer.set_trace_callback(executed.append)  # type: ignore[attr-defined]
    run_job(master, connection, code=0)
    master.store._writer.set_trace_callback(None)  # type: ignore[attr-defined]
    tables = ("notification", "channel", "snooze")
    assert [each for each in executed if any(table in each for table in tables)] == []


def test_a_restored_store_sends_no_message_of_the_past(master: Harness) -> None:
    master.define()
    add_channel(master)
    run_job(master, master.join())
    with master.store.transaction() as tx:
        prepare_restored_store(tx, master.now, None)
    assert messages(master) == []
    assert messages(master, "failed") == [("mail", "flag failed")]
    assert bell(master) == [("failed", "flag", 1)]


def test_after_the_clock_was_set_back_a_year_messages_go_on(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    run_job(master, connection)
    run_job(master, connection)
    deliver(master)
    assert messages(master) == []  # the second failure is announced a minute later
    year_ms = 365 * 86_400_000
    master.now = master.now._replace(wall_ms=master.now.wall_ms - year_ms)
    master.turn()
    master.advance(61)
    assert [title for _, title in messages(master)] == ["flag failed 2 times"]


def test_the_result_of_a_message_that_was_replaced_changes_nothing(master: Harness) -> None:
    master.define()
    add_channel(master)
    run_job(master, master.join())
    master.request(r.RemoveChannel("mail"))
    before = messages(master, "failed")
    master.request(r.RecordDeliveries([r.DeliveryResult(1, 1, "", 0, 1, "")]))
    assert messages(master, "failed") == before == [("", "flag failed")]
