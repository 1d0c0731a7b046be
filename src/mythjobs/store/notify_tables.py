"""Tables of notifications, of the channels that they are sent to, and of messages to channels."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from mythjobs.store.tables import Id, metadata

# Notifications: incidents of one kind and subject, counted (master/notify/notification.py).
notification = Table(
    "notification",
    metadata,
    Column("notification_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # "command 5", "machine 2"
    Column("name", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("incidents", Integer, nullable=False),
    Column("affected", Integer, nullable=False),
    Column("announced", Integer, nullable=False),
    Column("sent", Integer, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    Column("calm_ms", BigInteger),
    Column("next_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("read_ms", BigInteger),
    Column("job", Id),
    Column("n", Integer, nullable=False),
    Column("machine", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("is_muted", Integer, nullable=False),
)


def _index(name: str, *columns: Column[int], condition: str) -> None:
    """Create a partial index, of few rows, in SQLite and PostgreSQL."""
    Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


# Three indexes of few rows: for the master's start, and for the list of unread notifications.
_index("notification_open", notification.c.notification_id, condition="ended_ms IS NULL")
_index("notification_due", notification.c.next_ms, condition="next_ms IS NOT NULL")
_index("notification_unread", notification.c.notification_id, condition="read_ms IS NULL")

# Channels: where messages are sent. The URL, which has secrets, is encrypted with a key file.
channel = Table(
    "channel",
    metadata,
    Column("channel_id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("shown", Text, nullable=False),  # the URL without secrets
    Column("kinds", Text, nullable=False),  # JSON list of kinds of incidents
    Column("commands", Text, nullable=False),  # JSON list of names; []: all commands
    Column("template", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("snoozed_ms", BigInteger),  # messages wait until then
    Column("failures", Integer, nullable=False),  # failed tries in a row
    Column("failing_ms", BigInteger),  # since when messages fail
    Column("error", Text, nullable=False),  # of the last failed try
    Column("sent_ms", BigInteger),  # of the last message that was sent
)

# Commands and machines without messages until a time.
snooze = Table(
    "snooze",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# Messages to channels, and calls of heartbeat URLs (channel_id 0). Pending ones have a `next_ms`.
channel_message = Table(
    "channel_message",
    metadata,
    Column("message_id", Id, primary_key=True),
    Column("channel_id", Id, nullable=False),
    Column("topic", Text, nullable=False),  # a newer message on a topic replaces a pending one
    Column("kind", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON
    Column("template", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger),  # time of the next try; null: sent, failed or replaced
    Column("tries", Integer, nullable=False),
    Column("sent_ms", BigInteger),
    Column("error", Text, nullable=False),
)
_index("message_due", channel_message.c.next_ms, condition="next_ms IS NOT NULL")
Index(
    "message_topic",
    channel_message.c.channel_id,
    channel_message.c.topic,
    sqlite_where=text("next_ms IS NOT NULL"),
    postgresql_where=text("next_ms IS NOT NULL"),
)
