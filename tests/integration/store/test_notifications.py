"""Notifications, channels, messages and figures for metrics, on both kinds of store."""

from __future__ import annotations

from mythjobs.master.notify.notification import Notification
from mythjobs.store.open import Store
from mythjobs.store.queries import notifications as queries
from mythjobs.store.queries.metrics import read_store_figures
from mythjobs.store.writes import channels, notifications
from mythjobs.store.writes.channels import ChannelRow, MessageRow
from mythjobs.store.writes.notifications import SnoozeRow
from tests.support import queue as q


def note(number: int, **fields: object) -> Notification:
    made = Notification(
        number, "failed", f"command {number}", "backup", "backup", 1000, 2000, job=7, detail="ä"
    )
    return made._replace(**fields)  # type: ignore[arg-type]


def message(number: int, **fields: object) -> MessageRow:
    made = MessageRow(number, 1, "failed command 1", "failed", "[]", "", "title", 1000, 1000)
    return made._replace(**fields)  # type: ignore[arg-type]


def test_notifications_are_inserted_updated_read_and_deleted(store: Store) -> None:
    with store.transaction() as tx:
        assert notifications.find_next_id(tx) == 1
        rows = [note(1, next_ms=5000), note(2), note(3, ended_ms=9000)]
        notifications.save(tx, [each._asdict() for each in rows], 1)
    changed = [note(1, incidents=1000, next_ms=None, calm_ms=3000), note(2, read_ms=4000), note(4)]
    with store.transaction() as tx:
        assert notifications.find_next_id(tx) == 4
        notifications.save(tx, [each._asdict() for each in changed], 4)
    with store.transaction() as tx:
        known = {row[0]: Notification(*row) for row in notifications.read_known(tx)}
        assert known == {1: changed[0], 2: changed[1], 4: changed[2]}
        listed = queries.list_notifications(tx, unread=True, limit=10)["notifications"]
        assert [each["id"] for each in listed] == [4, 3, 1]
        assert listed[2]["count"] == 1000
        assert queries.count_unread(tx) == 3
        assert notifications.set_read(tx, [1, 2, 99], 5000) == [1]
        assert sorted(notifications.set_read(tx, None, 6000)) == [3, 4]
        notifications.delete_old(tx, 3)
        listed = queries.list_notifications(tx, unread=False, limit=10)["notifications"]
        assert [each["id"] for each in listed] == [4, 2, 1]  # open ones are kept


def test_a_message_replaces_the_pending_one_on_its_topic(store: Store) -> None:
    with store.transaction() as tx:
        added = channels.add(tx, ChannelRow(0, "mail", "sealed", "json://…", "[]", "[]", "", 1000))
        assert added.channel_id == 1
        channels.add_messages(tx, [message(1), message(2, topic="lost machines", next_ms=9000)])
        channels.add_messages(tx, [message(3), message(4, channel_id=0)])
        assert channels.find_next_message_id(tx) == 5
        due = channels.read_due_messages(tx, 1000, 10)
        assert [each.message_id for each in due] == [3, 4]
        assert channels.find_next_ms(tx) == 1000
        channels.set_result(tx, 3, next_ms=None, tries=1, sent_ms=2000, error="")
        channels.set_result(tx, 4, next_ms=3000, tries=1, sent_ms=None, error="no")
        channels.set_result(tx, 1, next_ms=3000, tries=1, sent_ms=None, error="late")  # replaced
        listed = queries.list_messages(tx, 10)["messages"]
        assert [(e["id"], e["channel"], e["state"], e["error"]) for e in listed] == [
            (4, "", "pending", "no"),
            (3, "mail", "sent", ""),
            (2, "mail", "pending", ""),
            (1, "mail", "replaced", channels.REPLACED),
        ]
        assert [each.message_id for each in channels.read_due_messages(tx, 9000, 10, [1])] == [4]
        assert channels.find_next_ms(tx, [0]) == 9000
        channels.hasten_messages(tx, 500, [0])  # the clock was set back
        assert channels.find_next_ms(tx) == 500
        channels.delay_messages(tx, 1, 20_000)
        assert channels.find_next_ms(tx) == 3000
        channels.save(tx, added._replace(failures=3, failing_ms=5000, error="no"))
        assert channels.read_all(tx)[0].failing_ms == 5000
        channels.remove(tx, 1)
        assert channels.read_all(tx) == []
        channels.drop_messages(tx, "restored")
        assert channels.find_next_ms(tx) is None
        channels.delete_old_messages(tx, 3)
        assert [each["id"] for each in queries.list_messages(tx, 10)["messages"]] == [4]


def test_snoozes_and_the_heartbeat_url_are_replaced(store: Store) -> None:
    with store.transaction() as tx:
        notifications.save_snooze(tx, SnoozeRow("command 1", "backup", 1000))
        notifications.save_snooze(tx, SnoozeRow("command 1", "backup", 2000))
        assert notifications.read_snoozes(tx) == [SnoozeRow("command 1", "backup", 2000)]
        notifications.remove_snooze(tx, "command 1")
        assert notifications.read_snoozes(tx) == []
        assert channels.read_heartbeat(tx) == ""
        for url in ("one", "two"):
            channels.save_heartbeat(tx, url)
            assert channels.read_heartbeat(tx) == url
        channels.save_heartbeat(tx, "")
        assert channels.read_heartbeat(tx) == ""


def test_figures_for_metrics(store: Store) -> None:
    with store.transaction() as tx:
        ids = q.queue_jobs(tx, 3, command="backup")
    with store.snapshot() as tx:
        figures = read_store_figures(tx)
    [command_id] = [each for each, name in figures.names.items() if name == "backup"]
    assert figures.jobs[command_id, "queued"] == len(ids) == 3
    assert figures.oldest_ms == {"backup": q.NOON}
    assert figures.output_bytes[command_id] == 0
    assert figures.store_bytes > 10_000
