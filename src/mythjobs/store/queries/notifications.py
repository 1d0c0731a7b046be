"""Queries about notifications and messages, in the form of the HTTP API (docs/api.md)."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import select

from mythjobs.protocol.notify_responses import (
    NotificationRow,
    Notifications,
    SentMessage,
    SentMessages,
)
from mythjobs.store import notify_tables as t
from mythjobs.store import tables
from mythjobs.store.expressions import param
from mythjobs.store.statement import Record, Statement, fetch_records
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.channels import REPLACED

MAX_LISTED: Final = 1000
# Number of unread notifications that the status counts; more are shown as this number.
MAX_COUNTED: Final = 100

notification, message = t.notification, t.channel_message
_READ_UNREAD_IDS: Final = Statement(
    select(notification.c.notification_id)
    .where(notification.c.read_ms.is_(None))
    .limit(param("limit"))
)
_READ_DEFINITIONS: Final = Statement(
    select(tables.command.c.command_id, tables.command_revision.c.definition).where(
        tables.command_revision.c.revision_id == tables.command.c.revision_id
    )
)


def list_notifications(tx: Transaction, *, unread: bool, limit: int) -> Notifications:
    """Return notifications, newest first; only unread ones if `unread` is set."""
    query = select(notification).order_by(notification.c.notification_id.desc()).limit(limit)
    if unread:
        query = query.where(notification.c.read_ms.is_(None))
    return {"notifications": [_to_response(row) for row in fetch_records(tx, query)]}


def _to_response(row: Record) -> NotificationRow:
    return {
        "id": row["notification_id"],
        "kind": row["kind"],
        "name": row["name"],
        "count": row["incidents"],
        "affected": row["affected"],
        "since_ms": row["opened_ms"],
        "last_ms": row["last_ms"],
        "ended_ms": row["ended_ms"],
        "recovered_ms": row["calm_ms"],
        "read": row["read_ms"] is not None,
        "job": row["job"],
        "attempt": row["n"] or None,
        "machine": row["machine"],
        "sentence": row["detail"],
    }


def count_unread(tx: Transaction) -> int:
    """Return the number of unread notifications, at most MAX_COUNTED."""
    return len(_READ_UNREAD_IDS.run(tx, limit=MAX_COUNTED))


def list_messages(tx: Transaction, limit: int) -> SentMessages:
    """Return messages to channels and calls of heartbeat URLs, newest first."""
    query = (
        select(message, t.channel.c.name)
        .select_from(message.outerjoin(t.channel, t.channel.c.channel_id == message.c.channel_id))
        .order_by(message.c.message_id.desc())
        .limit(limit)
    )
    return {"messages": [_to_sent_message(row) for row in fetch_records(tx, query)]}


def _to_sent_message(row: Record) -> SentMessage:
    if row["sent_ms"] is not None:
        state = "sent"
    elif row["next_ms"] is not None:
        state = "pending"
    elif row["error"] == REPLACED:
        state = "replaced"
    else:
        state = "failed"
    return {
        "id": row["message_id"],
        "channel": row["name"] or "",
        "kind": row["kind"],
        "title": row["title"],
        "state": state,
        "created_ms": row["created_ms"],
        "sent_ms": row["sent_ms"],
        "next_ms": row["next_ms"],
        "tries": row["tries"],
        "error": row["error"],
    }


def find_commands_with_heartbeat(tx: Transaction) -> frozenset[int]:
    """Return the ids of commands whose current definition has a heartbeat URL.

    A definition that cannot be read counts as one without: placement reports it.
    """
    return frozenset(
        command_id
        for command_id, definition in _READ_DEFINITIONS.run(tx)
        if '"heartbeat"' in definition and _has_heartbeat(definition)
    )


def _has_heartbeat(definition: str) -> bool:
    try:
        return bool(json.loads(definition).get("heartbeat"))
    except (ValueError, AttributeError):
        return False
