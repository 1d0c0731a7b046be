"""Channels, and the messages to them until they are sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

from sqlalchemy import delete, func, insert, not_, select, update

from mythjobs.store import notify_tables as t
from mythjobs.store import tables
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

channel, message, meta = t.channel, t.channel_message, tables.meta

# Calls of heartbeat URLs are messages with a channel id that is not positive: one for each URL, and
# 0 for those that earlier versions have stored.
HEARTBEAT: Final = 0
REPLACED: Final = "replaced by a newer message"


class ChannelRow(NamedTuple):
    """Row of a channel. url: encrypted. kinds, commands: JSON lists."""

    channel_id: int
    name: str
    url: str
    shown: str
    kinds: str
    commands: str
    template: str
    created_ms: int
    snoozed_ms: int | None = None
    failures: int = 0
    failing_ms: int | None = None
    error: str = ""
    sent_ms: int | None = None


class MessageRow(NamedTuple):
    """Row of a message. next_ms: time of the next try; None: no more tries."""

    message_id: int
    channel_id: int
    topic: str
    kind: str
    facts: str
    template: str
    title: str
    created_ms: int
    next_ms: int | None
    tries: int = 0
    sent_ms: int | None = None
    error: str = ""


def is_heartbeat(channel_id: int) -> bool:
    """Return whether messages with this channel id are calls of a heartbeat URL."""
    return channel_id <= HEARTBEAT


def compute_heartbeat_id(url: str) -> int:
    """Return the channel id of the calls of a heartbeat URL."""
    return -1 - crc32(url.encode("utf-8", "replace"))


_CHANNEL_COLUMNS: Final = [channel.c[name] for name in ChannelRow._fields]
_MESSAGE_COLUMNS: Final = [message.c[name] for name in MessageRow._fields]
_READ_CHANNELS: Final = Statement(select(*_CHANNEL_COLUMNS).order_by(channel.c.name))
_FIND_LAST_CHANNEL: Final = Statement(select(func.max(channel.c.channel_id)))
_INSERT_CHANNEL: Final = Statement(insert(channel), ChannelRow._fields)
_DELETE_CHANNEL: Final = Statement(
    delete(channel).where(channel.c.channel_id == param("channel_id"))
)
_UPDATE_CHANNEL: Final = Statement(
    update(channel)
    .where(channel.c.channel_id == param("channel_id"))
    .values(
        {name: param(name) for name in ("snoozed_ms", "failures", "failing_ms", "error", "sent_ms")}
    )
)
_FIND_LAST_MESSAGE: Final = Statement(select(func.max(message.c.message_id)))
_INSERT_MESSAGE: Final = Statement(insert(message), MessageRow._fields)
_REPLACE: Final = Statement(
    update(message)
    .where(
        message.c.channel_id == param("channel_id"),
        message.c.topic == param("topic"),
        message.c.next_ms.is_not(None),
    )
    .values(next_ms=None, error=REPLACED)
)
_DROP: Final = Statement(
    update(message)
    .where(message.c.channel_id == param("channel_id"), message.c.next_ms.is_not(None))
    .values(next_ms=None, error=param("error"))
)
_DROP_ALL: Final = Statement(
    update(message).where(message.c.next_ms.is_not(None)).values(next_ms=None, error=param("error"))
)
_DELAY: Final = Statement(
    update(message)
    .where(message.c.channel_id == param("channel_id"), message.c.next_ms.is_not(None))
    .values(next_ms=param("next_ms"))
)
_READ_DUE: Final = Statement(
    select(*_MESSAGE_COLUMNS)
    .where(
        message.c.next_ms <= param("now_ms"),
        message.c.next_ms.is_not(None),
        not_(in_list(message.c.channel_id, "except_ids")),
    )
    .order_by(message.c.next_ms)
    .limit(param("limit"))
)
_FIND_NEXT_MS: Final = Statement(
    select(func.min(message.c.next_ms)).where(
        message.c.next_ms.is_not(None), not_(in_list(message.c.channel_id, "except_ids"))
    )
)
# After the clock was set back.
_HASTEN: Final = Statement(
    update(message)
    .where(
        message.c.next_ms.is_not(None),
        message.c.next_ms > param("now_ms"),
        message.c.created_ms > param("now_ms"),
        not_(in_list(message.c.channel_id, "except_ids")),
    )
    .values(next_ms=param("now_ms"), created_ms=param("now_ms"))
)
_SET_RESULT: Final = Statement(
    update(message)
    .where(message.c.message_id == param("message_id"), message.c.next_ms.is_not(None))
    .values({name: param(name) for name in ("next_ms", "tries", "sent_ms", "error")}),
)
_DELETE_MESSAGE: Final = Statement(
    delete(message).where(message.c.message_id == param("message_id"))
)
_DELETE_OLD: Final = Statement(
    delete(message).where(message.c.message_id <= param("last_id"), message.c.next_ms.is_(None))
)
_READ_HEARTBEAT: Final = Statement(
    select(meta.c.value).where(meta.c.name == literal("master_heartbeat"))
)
_INSERT_META: Final = Statement(insert(meta), meta.c.keys())
_DELETE_HEARTBEAT: Final = Statement(delete(meta).where(meta.c.name == literal("master_heartbeat")))


def read_all(tx: Transaction) -> list[ChannelRow]:
    return [ChannelRow(*row) for row in _READ_CHANNELS.run(tx)]


def add(tx: Transaction, row: ChannelRow) -> ChannelRow:
    """Insert a channel; return it with its id."""
    row = row._replace(channel_id=int(_FIND_LAST_CHANNEL.run(tx)[0][0] or HEARTBEAT) + 1)
    _INSERT_CHANNEL.run(tx, **row._asdict())
    return row


def save(tx: Transaction, row: ChannelRow) -> None:
    """Store a channel's state: its snooze, and the results of its last messages."""
    _UPDATE_CHANNEL.run(tx, **row._asdict())


def remove(tx: Transaction, channel_id: int) -> None:
    _DELETE_CHANNEL.run(tx, channel_id=channel_id)
    _DROP.run(tx, channel_id=channel_id, error="the channel was removed")


def find_next_message_id(tx: Transaction) -> int:
    return int(_FIND_LAST_MESSAGE.run(tx)[0][0] or 0) + 1


def add_messages(tx: Transaction, rows: Sequence[MessageRow]) -> None:
    """Insert messages. Each replaces pending ones to the same channel on the same topic."""
    for channel_id, topic in {(each.channel_id, each.topic) for each in rows}:
        _REPLACE.run(tx, channel_id=channel_id, topic=topic)
    _INSERT_MESSAGE.run_many(tx, [each._asdict() for each in rows])


def drop_messages(tx: Transaction, why: str) -> None:
    """Drop all pending messages."""
    _DROP_ALL.run(tx, error=why)


def delay_messages(tx: Transaction, channel_id: int, next_ms: int) -> None:
    """Set the next try of all pending messages to a channel."""
    _DELAY.run(tx, channel_id=channel_id, next_ms=next_ms)


def read_due_messages(
    tx: Transaction, now_ms: int, limit: int, except_ids: Sequence[int] = ()
) -> list[MessageRow]:
    """Return messages whose time has come, but none to the channels `except_ids`."""
    found = _READ_DUE.run(tx, now_ms=now_ms, limit=limit, except_ids=list(except_ids))
    return [MessageRow(*row) for row in found]


def find_next_ms(tx: Transaction, except_ids: Sequence[int] = ()) -> int | None:
    """Return the time of the next try of any message to other channels than these, or None."""
    found: int | None = _FIND_NEXT_MS.run(tx, except_ids=list(except_ids))[0][0]
    return found


def hasten_messages(tx: Transaction, now_ms: int, except_ids: Sequence[int]) -> None:
    """Have pending messages that are from the future, because the clock was set back, sent now.

    except_ids: channels that are snoozed.
    """
    _HASTEN.run(tx, now_ms=now_ms, except_ids=list(except_ids))


def set_result(
    tx: Transaction,
    message_id: int,
    *,
    next_ms: int | None,
    tries: int,
    sent_ms: int | None,
    error: str,
) -> None:
    """Store the result of a try, unless the message was replaced or dropped meanwhile."""
    _SET_RESULT.run(
        tx, message_id=message_id, next_ms=next_ms, tries=tries, sent_ms=sent_ms, error=error
    )


def delete_message(tx: Transaction, message_id: int) -> None:
    _DELETE_MESSAGE.run(tx, message_id=message_id)


def delete_old_messages(tx: Transaction, last_id: int) -> None:
    _DELETE_OLD.run(tx, last_id=last_id)


def read_heartbeat(tx: Transaction) -> str:
    """Return the master's heartbeat URL, encrypted; "" if none is set."""
    rows = _READ_HEARTBEAT.run(tx)
    return str(json.loads(rows[0][0])) if rows else ""


def save_heartbeat(tx: Transaction, url: str) -> None:
    """Store the master's heartbeat URL, encrypted; "" removes it."""
    _DELETE_HEARTBEAT.run(tx)
    if url:
        _INSERT_META.run(tx, name="master_heartbeat", value=json.dumps(url))
