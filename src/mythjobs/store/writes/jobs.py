"""Rows of jobs: new ones, the flags that a person sets, and what the machines tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select, update

from mythjobs.model.life import JobState
from mythjobs.scheduler.order import deadline_order
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job, meta = t.job, t.meta

_COLUMNS = (
    "job_id",
    "class_id",
    "command_id",
    "batch_id",
    "arguments",
    "key",
    "subject",
    "overlap",
    "priority",
    "state",
    "hold",
    "not_before_ms",
    "deadline_ms",
    "unmet",
    "ready_class",
    "attempts",
    "losses",
    "failures",
    "submitted_ms",
    "comment",
    "reason_code",
    "reason",
    "rerun_of",
)


class NewJob(NamedTuple):
    """A row as it is inserted: always queued, with no attempt yet."""

    job_id: int
    class_id: int
    command_id: int
    arguments: str
    submitted_ms: int
    batch_id: int | None = None
    key: str | None = None
    subject: str | None = None
    overlap: int = 0
    priority: int = 0
    hold: int = 0
    not_before_ms: int | None = None
    unmet: int = 0
    ready_class: int | None = None
    comment: str = ""
    rerun_of: int | None = None
    deadline_ms: int | None = None
    state: str = JobState.QUEUED.value
    attempts: int = 0
    losses: int = 0
    failures: int = 0
    reason_code: str = ""
    reason: str = ""


class JobFlags(NamedTuple):
    """What an act on a job must know of it."""

    job_id: int
    class_id: int
    command_id: int
    batch_id: int | None
    state: str
    hold: int
    stop_requested: str | None
    subject: str | None


_INSERT = Statement(insert(job), (*_COLUMNS, "deadline_order"))
_BY_KEY = Statement(select(job.c.job_id, job.c.state).where(job.c.key == param("called")))
_FLAGS = Statement(
    select(
        job.c.job_id,
        job.c.class_id,
        job.c.command_id,
        job.c.batch_id,
        job.c.state,
        job.c.hold,
        job.c.stop_requested,
        job.c.subject,
    ).where(in_list(job.c.job_id, "job_ids"))
)
_WHOLE = Statement(
    select(*(job.c[name] for name in _COLUMNS)).where(job.c.job_id == param("which"))
)
_HOLD = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
    .values(hold=param("held"), reason_code=param("code"), reason=param("sentence"))
)
_STOP = Statement(
    update(job).where(in_list(job.c.job_id, "job_ids")).values(stop_requested=param("by"))
)
_TELL = Statement(
    update(job)
    .where(job.c.job_id == param("which"), job.c.attempts == param("n"))
    .values(
        progress=func.coalesce(param("tenths"), job.c.progress),
        comment=func.coalesce(param("said"), job.c.comment),
    ),
    unique_rows=True,
)
_NEXT_ID = Statement(select(meta.c.value).where(meta.c.name == literal("next_job_id")))
_SAVE_NEXT_ID = Statement(
    update(meta).where(meta.c.name == literal("next_job_id")).values(value=param("next"))
)


def add(tx: Transaction, rows: Sequence[NewJob]) -> None:
    """Inserts new jobs, all of which are queued, and counts them."""
    _INSERT.run_many(
        tx, [row._asdict() | {"deadline_order": deadline_order(row.deadline_ms)} for row in rows]
    )
    for row in rows:
        tx.job_count_changes[row.command_id, JobState.QUEUED] += 1


def find_by_key(tx: Transaction, key: str) -> tuple[int, str] | None:
    """Id and state of the job that was submitted with this key."""
    rows = _BY_KEY.run(tx, called=key)
    return (rows[0][0], rows[0][1]) if rows else None


def read_flags(tx: Transaction, job_ids: Sequence[int]) -> dict[int, JobFlags]:
    return {row[0]: JobFlags(*row) for row in _FLAGS.run(tx, job_ids=list(job_ids))}


def read_submission(tx: Transaction, job_id: int) -> dict[str, Any] | None:
    """The columns of a job that a copy of it (`rerun`) begins from."""
    rows = _WHOLE.run(tx, which=job_id)
    return dict(zip(_COLUMNS, rows[0], strict=True)) if rows else None


def set_hold(tx: Transaction, job_ids: Sequence[int], held: bool, sentence: str) -> None:
    _HOLD.run(
        tx,
        job_ids=list(job_ids),
        held=int(held),
        code="held" if held else "",
        sentence=sentence,
    )


def request_stop(tx: Transaction, job_ids: Sequence[int], by: str) -> None:
    _STOP.run(tx, job_ids=list(job_ids), by=by)


def record_progress(
    tx: Transaction, rows: Sequence[tuple[int, int, int | None, str | None]]
) -> None:
    """Progress (tenths of a percent) and comment of (job, n); a stale n changes nothing."""
    _TELL.run_many(
        tx,
        [
            # A program may write anything; PostgreSQL has no NUL in its texts.
            {
                "which": job_id,
                "n": n,
                "tenths": tenths,
                "said": comment and comment.replace("\0", "\N{REPLACEMENT CHARACTER}"),
            }
            for job_id, n, tenths, comment in rows
        ],
    )


def read_next_id(tx: Transaction) -> int:
    """The number that the next job gets; numbers are never given twice, also after a prune."""
    return int(_NEXT_ID.run(tx)[0][0])


def save_next_id(tx: Transaction, number: int) -> None:
    _SAVE_NEXT_ID.run(tx, next=str(number))
