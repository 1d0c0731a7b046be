"""Writes of ticks: what became of each tick of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import case, delete, exists, func, insert, select, update

from mythjobs.model.tick import TickOutcome
from mythjobs.store import schedule_tables as t
from mythjobs.store import tables
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

tick, job, attempt = t.schedule_tick, tables.job, tables.attempt

# Number of rows that are kept of each schedule.
KEPT_ROWS: Final = 1000
# Value of the column `ticks` for a job that a user submitted by `schedule run`, without a tick.
NOT_OF_CALENDAR: Final = 0


class TickRow(NamedTuple):
    """Row of a tick, or of `ticks` consecutive ticks without a job, from `tick_ms` to `last_ms`.

    machine_id: of a schedule that runs on each machine, else 0. tries: number of jobs that were
    submitted for the tick; job_id is the last one.
    """

    schedule_id: int
    tick_ms: int
    machine_id: int
    last_ms: int
    ticks: int
    outcome: str
    reason: str
    job_id: int | None = None
    tries: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None


class JobEnd(NamedTuple):
    """State of a schedule's job. started_ms: start of its last attempt that started, or None.
    attempts: number of its last attempt."""

    job_id: int
    state: str
    reason_code: str
    reason: str
    ended_ms: int | None
    class_id: int
    attempts: int
    started_ms: int | None


_COLUMNS = tuple(tick.c[name] for name in TickRow._fields)
_IS_TICK = (
    tick.c.schedule_id == param("schedule_id"),
    tick.c.tick_ms == param("tick_ms"),
    tick.c.machine_id == param("machine_id"),
)
_INSERT = Statement(insert(tick), TickRow._fields)
_READ_BETWEEN = Statement(
    select(*_COLUMNS)
    .where(
        tick.c.schedule_id == param("schedule_id"),
        tick.c.tick_ms >= param("from_ms"),
        tick.c.tick_ms <= param("to_ms"),
    )
    .order_by(tick.c.tick_ms, tick.c.machine_id)
)
_READ_LAST = Statement(
    select(*_COLUMNS)
    .where(tick.c.schedule_id == param("schedule_id"), tick.c.tick_ms <= param("to_ms"))
    .order_by(tick.c.tick_ms.desc(), tick.c.machine_id.desc())
    .limit(param("limit"))
)
_EXTEND = Statement(
    update(tick).where(*_IS_TICK).values(last_ms=param("last_ms"), ticks=param("ticks"))
)
_SET_JOB = Statement(
    update(tick)
    .where(*_IS_TICK)
    .values(job_id=param("job_id"), tries=param("tries"), reason=param("reason"))
)
_SET_END = Statement(
    update(tick)
    .where(*_IS_TICK)
    .values(
        outcome=param("outcome"),
        reason=case(
            (tick.c.reason == "", param("reason")),
            (param("reason") == "", tick.c.reason),
            else_=tick.c.reason + "; " + param("reason"),
        ),
        started_ms=param("started_ms"),
        ended_ms=param("ended_ms"),
    )
)
_READ_OPEN = Statement(
    select(*_COLUMNS)
    .where(tick.c.outcome == literal(TickOutcome.SUBMITTED))
    .order_by(tick.c.schedule_id, tick.c.tick_ms)
)
_DELETE = Statement(delete(tick).where(*_IS_TICK))
_FIND_OLDEST_KEPT = Statement(
    select(tick.c.tick_ms)
    .where(tick.c.schedule_id == param("schedule_id"))
    .order_by(tick.c.tick_ms.desc())
    .limit(1)
    .offset(param("kept"))
)
_DELETE_OLD = Statement(
    delete(tick).where(
        tick.c.schedule_id == param("schedule_id"),
        tick.c.tick_ms <= param("to_ms"),
        tick.c.outcome != literal(TickOutcome.SUBMITTED),
    )
)
_started = (
    select(func.max(attempt.c.started_ms)).where(attempt.c.job_id == job.c.job_id).scalar_subquery()
)
_READ_JOBS = Statement(
    select(*(job.c[name] for name in JobEnd._fields if name != "started_ms"), _started).where(
        in_list(job.c.job_id, "job_ids")
    )
)
_FIND_STARTED = Statement(
    select(job.c.job_id).where(
        in_list(job.c.job_id, "job_ids"),
        exists().where(attempt.c.job_id == job.c.job_id, attempt.c.started_ms.is_not(None)),
    )
)


def add(tx: Transaction, rows: Sequence[TickRow]) -> None:
    _INSERT.run_many(tx, [each._asdict() for each in rows])


def read_between(tx: Transaction, schedule_id: int, from_ms: int, to_ms: int) -> list[TickRow]:
    """Return the rows whose first tick is in [from_ms, to_ms], oldest first."""
    rows = _READ_BETWEEN.run(tx, schedule_id=schedule_id, from_ms=from_ms, to_ms=to_ms)
    return [TickRow(*row) for row in rows]


def read_last(tx: Transaction, schedule_id: int, to_ms: int, limit: int) -> list[TickRow]:
    """Return the last rows whose first tick is at `to_ms` or before, newest first."""
    rows = _READ_LAST.run(tx, schedule_id=schedule_id, to_ms=to_ms, limit=limit)
    return [TickRow(*row) for row in rows]


def read_open(tx: Transaction) -> list[TickRow]:
    """Return the ticks of all schedules whose jobs have not ended."""
    return [TickRow(*row) for row in _READ_OPEN.run(tx)]


def extend(tx: Transaction, row: TickRow) -> None:
    """Store a row's last tick and number of ticks."""
    _EXTEND.run(tx, **row._asdict())


def set_job(tx: Transaction, row: TickRow) -> None:
    """Store a tick's next job."""
    _SET_JOB.run(tx, **row._asdict())


def set_end(tx: Transaction, row: TickRow) -> None:
    """Store what became of a tick whose job has ended; `reason` is added to the row's reason."""
    _SET_END.run(tx, **row._asdict())


def remove(tx: Transaction, row: TickRow) -> None:
    _DELETE.run(tx, **row._asdict())


def remove_old(tx: Transaction, schedule_id: int) -> None:
    """Delete all but the newest rows of a schedule, except ticks whose jobs have not ended."""
    rows = _FIND_OLDEST_KEPT.run(tx, schedule_id=schedule_id, kept=KEPT_ROWS)
    if rows:
        _DELETE_OLD.run(tx, schedule_id=schedule_id, to_ms=rows[0][0])


def read_jobs(tx: Transaction, job_ids: Sequence[int]) -> dict[int, JobEnd]:
    return {row[0]: JobEnd(*row) for row in _READ_JOBS.run(tx, job_ids=list(job_ids))}


def find_started(tx: Transaction, job_ids: Sequence[int]) -> set[int]:
    """Return which of these jobs have started, perhaps in an earlier attempt."""
    return {row[0] for row in _FIND_STARTED.run(tx, job_ids=list(job_ids))}
