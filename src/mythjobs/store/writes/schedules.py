"""Writes of schedules: definitions, cursors, pauses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from mythjobs.store import schedule_tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

schedule, tick = t.schedule, t.schedule_tick


class ScheduleRow(NamedTuple):
    """Row of a schedule; `definition` is JSON."""

    schedule_id: int
    name: str
    definition: str
    submitter: str
    created_ms: int
    changed_ms: int
    cursor_ms: int
    paused: int
    paused_until_ms: int | None
    pause_reason: str
    drifting: int


_NEW = [name for name in ScheduleRow._fields if name != "schedule_id"]
_IS_SCHEDULE = schedule.c.schedule_id == param("schedule_id")
_READ_ALL = Statement(
    select(*(schedule.c[name] for name in ScheduleRow._fields)).order_by(schedule.c.name)
)
_FIND = Statement(
    select(*(schedule.c[name] for name in ScheduleRow._fields)).where(
        schedule.c.name == param("name")
    )
)
_INSERT = Statement(insert(schedule), _NEW)
_REDEFINE = Statement(
    update(schedule)
    .where(_IS_SCHEDULE)
    .values(
        definition=param("definition"), changed_ms=param("changed_ms"), cursor_ms=param("cursor_ms")
    )
)
_SET_PAUSE = Statement(
    update(schedule)
    .where(_IS_SCHEDULE)
    .values(
        paused=param("paused"),
        paused_until_ms=param("until_ms"),
        pause_reason=param("reason"),
    )
)
_SET_CURSOR = Statement(update(schedule).where(_IS_SCHEDULE).values(cursor_ms=param("cursor_ms")))
_SET_DRIFTING = Statement(update(schedule).where(_IS_SCHEDULE).values(drifting=param("drifting")))
_DELETE = Statement(delete(schedule).where(_IS_SCHEDULE))
_DELETE_TICKS = Statement(delete(tick).where(tick.c.schedule_id == param("schedule_id")))


def read_all(tx: Transaction) -> list[ScheduleRow]:
    return [ScheduleRow(*row) for row in _READ_ALL.run(tx)]


def find(tx: Transaction, name: str) -> ScheduleRow | None:
    rows = _FIND.run(tx, name=name)
    return ScheduleRow(*rows[0]) if rows else None


def add(
    tx: Transaction,
    name: str,
    definition: dict[str, object],
    submitter: str,
    *,
    at_ms: int,
    paused: bool,
    reason: str,
) -> ScheduleRow:
    """Insert a schedule whose ticks after `at_ms` are to come."""
    _INSERT.run(
        tx,
        name=name,
        definition=json.dumps(definition, ensure_ascii=False),
        submitter=submitter,
        created_ms=at_ms,
        changed_ms=at_ms,
        cursor_ms=at_ms,
        paused=int(paused),
        paused_until_ms=None,
        pause_reason=reason,
        drifting=0,
    )
    found = find(tx, name)
    assert found is not None
    return found


def redefine(
    tx: Transaction,
    schedule_id: int,
    definition: dict[str, object],
    *,
    at_ms: int,
    cursor_ms: int,
) -> None:
    """Replace a definition at `at_ms`. Its ticks after `cursor_ms` are to be decided."""
    _REDEFINE.run(
        tx,
        schedule_id=schedule_id,
        definition=json.dumps(definition, ensure_ascii=False),
        changed_ms=at_ms,
        cursor_ms=cursor_ms,
    )


def set_pause(
    tx: Transaction, schedule_id: int, *, paused: bool, until_ms: int | None, reason: str
) -> None:
    _SET_PAUSE.run(
        tx, schedule_id=schedule_id, paused=int(paused), until_ms=until_ms, reason=reason
    )


def set_cursors(tx: Transaction, cursors: Sequence[tuple[int, int]]) -> None:
    """Store cursors, each (schedule id, instant up to which all ticks are decided)."""
    for schedule_id, cursor_ms in cursors:
        _SET_CURSOR.run(tx, schedule_id=schedule_id, cursor_ms=cursor_ms)


def set_drifting(tx: Transaction, schedule_id: int, drifting: bool) -> None:
    _SET_DRIFTING.run(tx, schedule_id=schedule_id, drifting=int(drifting))


def remove(tx: Transaction, schedule_id: int) -> None:
    """Delete a schedule and the rows of its ticks; its jobs stay."""
    _DELETE_TICKS.run(tx, schedule_id=schedule_id)
    _DELETE.run(tx, schedule_id=schedule_id)
