"""Add notifications, channels that they are sent to, and messages to channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _text(name: str, *, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, unique=unique or None)


def _time(name: str, *, nullable: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    op.create_table(
        "notification",
        sa.Column("notification_id", Id, primary_key=True),
        _text("kind"),
        _text("subject"),
        _text("name"),
        _text("command"),
        _time("opened_ms", nullable=False),
        _time("last_ms", nullable=False),
        _integer("incidents"),
        _integer("affected"),
        _integer("announced"),
        _integer("sent"),
        _time("sent_ms", nullable=False),
        _time("calm_ms"),
        _time("next_ms"),
        _time("ended_ms"),
        _time("read_ms"),
        sa.Column("job", Id),
        _integer("n"),
        _text("machine"),
        _text("detail"),
        _integer("is_muted"),
    )
    _index("notification_open", "notification", ["notification_id"], "ended_ms IS NULL")
    _index("notification_due", "notification", ["next_ms"], "next_ms IS NOT NULL")
    _index("notification_unread", "notification", ["notification_id"], "read_ms IS NULL")
    op.create_table(
        "channel",
        sa.Column("channel_id", Id, primary_key=True),
        _text("name", unique=True),
        _text("url"),
        _text("shown"),
        _text("kinds"),
        _text("commands"),
        _text("template"),
        _time("created_ms", nullable=False),
        _time("snoozed_ms"),
        _integer("failures"),
        _time("failing_ms"),
        _text("error"),
        _time("sent_ms"),
    )
    op.create_table(
        "snooze",
        sa.Column("subject", sa.Text(), primary_key=True),
        _text("name"),
        _time("until_ms", nullable=False),
    )
    op.create_table(
        "channel_message",
        sa.Column("message_id", Id, primary_key=True),
        sa.Column("channel_id", Id, nullable=False),
        _text("topic"),
        _text("kind"),
        _text("facts"),
        _text("template"),
        _text("title"),
        _time("created_ms", nullable=False),
        _time("next_ms"),
        _integer("tries"),
        _time("sent_ms"),
        _text("error"),
    )
    _index("message_due", "channel_message", ["next_ms"], "next_ms IS NOT NULL")
    _index("message_topic", "channel_message", ["channel_id", "topic"], "next_ms IS NOT NULL")
