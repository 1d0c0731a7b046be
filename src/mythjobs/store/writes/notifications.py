"""Notifications, and the snoozes of commands and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from mythjobs.store import notify_tables as t
from mythjobs.store.expressions import in_list, param
from mythjobs.store.statement import Row, Statement
from mythjobs.store.transaction import Transaction

notification, snooze = t.notification, t.snooze

COLUMNS: Final = tuple(notification.c.keys())


class SnoozeRow(NamedTuple):
    """No messages are sent about a subject, such as "command 5", before `until_ms`."""

    subject: str
    name: str
    until_ms: int


_INSERT: Final = Statement(insert(notification), COLUMNS)
_UPDATE: Final = Statement(
    update(notification)
    .where(notification.c.notification_id == param("notification_id"))
    .values({name: param(name) for name in COLUMNS if name != "notification_id"}),
    unique_rows=True,
)
_READ_OPEN: Final = Statement(select(notification).where(notification.c.ended_ms.is_(None)))
_READ_DUE: Final = Statement(select(notification).where(notification.c.next_ms.is_not(None)))
_FIND_LAST_ID: Final = Statement(select(func.max(notification.c.notification_id)))
_DELETE_OLD: Final = Statement(
    delete(notification).where(
        notification.c.notification_id <= param("last_id"),
        notification.c.ended_ms.is_not(None),
        notification.c.next_ms.is_(None),
    )
)
_SET_READ: Final = Statement(
    update(notification)
    .where(in_list(notification.c.notification_id, "ids"), notification.c.read_ms.is_(None))
    .values(read_ms=param("at_ms"))
    .returning(notification.c.notification_id)
)
_SET_ALL_READ: Final = Statement(
    update(notification)
    .where(notification.c.read_ms.is_(None))
    .values(read_ms=param("at_ms"))
    .returning(notification.c.notification_id)
)
_READ_SNOOZES: Final = Statement(select(*(snooze.c[name] for name in SnoozeRow._fields)))
_INSERT_SNOOZE: Final = Statement(insert(snooze), SnoozeRow._fields)
_DELETE_SNOOZE: Final = Statement(delete(snooze).where(snooze.c.subject == param("subject")))


def read_known(tx: Transaction) -> list[Row]:
    """Return the rows, in the order of COLUMNS, of notifications that are open or due."""
    rows = {row[0]: row for row in (*_READ_OPEN.run(tx), *_READ_DUE.run(tx))}
    return list(rows.values())


def find_next_id(tx: Transaction) -> int:
    return int(_FIND_LAST_ID.run(tx)[0][0] or 0) + 1


def save(tx: Transaction, rows: Sequence[Mapping[str, Any]], first_new_id: int) -> None:
    """Insert the notifications with ids from `first_new_id` on, and update the others."""
    _INSERT.run_many(tx, [each for each in rows if each["notification_id"] >= first_new_id])
    _UPDATE.run_many(tx, [each for each in rows if each["notification_id"] < first_new_id])


def delete_old(tx: Transaction, last_id: int) -> None:
    """Delete the ended notifications up to an id."""
    _DELETE_OLD.run(tx, last_id=last_id)


def set_read(tx: Transaction, ids: Sequence[int] | None, at_ms: int) -> list[int]:
    """Mark notifications as read, None: all. Return the ids of those that were unread."""
    if ids is None:
        return [row[0] for row in _SET_ALL_READ.run(tx, at_ms=at_ms)]
    return [row[0] for row in _SET_READ.run(tx, ids=list(ids), at_ms=at_ms)]


def read_snoozes(tx: Transaction) -> list[SnoozeRow]:
    return [SnoozeRow(*row) for row in _READ_SNOOZES.run(tx)]


def save_snooze(tx: Transaction, row: SnoozeRow) -> None:
    """Store a snooze, which replaces an earlier one of the same subject."""
    remove_snooze(tx, row.subject)
    _INSERT_SNOOZE.run(tx, **row._asdict())


def remove_snooze(tx: Transaction, subject: str) -> None:
    _DELETE_SNOOZE.run(tx, subject=subject)
