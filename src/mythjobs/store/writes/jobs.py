"""Writes of job rows: inserts, ids, flags set by users, progress reported by machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select, update

from mythjobs.model.life import JobState
from mythjobs.scheduler.order import ReadyJob, deadline_order
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job, meta = t.job, t.meta


class NewJob(NamedTuple):
    """Row of a new job. A new job is always queued and has no attempts."""

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

    def as_ready(self) -> ReadyJob:
        """Return the job as placement sees it; only for a job with `ready_class`."""
        return ReadyJob(
            self.job_id,
            self.class_id,
            self.priority,
            self.subject,
            self.overlap,
            deadline_order(self.deadline_ms),
        )


class JobSettings(NamedTuple):
    """Columns of a queued job that users can change, and the reason that is stored with them."""

    job_id: int
    class_id: int
    arguments: str
    subject: str | None
    priority: int
    not_before_ms: int | None
    deadline_ms: int | None
    comment: str
    reason_code: str
    reason: str


class JobFlags(NamedTuple):
    """Columns of a job that the handlers of actions on jobs read."""

    job_id: int
    class_id: int
    command_id: int
    batch_id: int | None
    state: str
    hold: int
    stop_requested: str | None
    subject: str | None
    priority: int
    not_before_ms: int | None


_INSERT = Statement(insert(job), (*NewJob._fields, "deadline_order"))
_FIND_BY_KEY = Statement(select(job.c.job_id, job.c.state).where(job.c.key == param("key")))
_READ_FLAGS = Statement(
    select(*(job.c[name] for name in JobFlags._fields)).where(in_list(job.c.job_id, "job_ids"))
)
_READ_SUBMISSIONS = Statement(
    select(*(job.c[name] for name in NewJob._fields)).where(in_list(job.c.job_id, "job_ids"))
)
_SET_HOLD = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
    .values(hold=param("hold"), reason_code=param("code"), reason=param("sentence"))
)
_RELEASE = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
    .values(hold=0, reason_code="", reason="", losses=0)
)
_SET_PRIORITY = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
    .values(priority=param("priority"))
)
_CHANGE = Statement(
    update(job)
    .where(job.c.job_id == param("job_id"), job.c.state == literal(JobState.QUEUED))
    .values({name: param(name) for name in (*JobSettings._fields[1:], "deadline_order")}),
    unique_rows=True,
)
_REQUEST_STOP = Statement(
    update(job).where(in_list(job.c.job_id, "job_ids")).values(stop_requested=param("by"))
)
_RECORD_PROGRESS = Statement(
    update(job)
    .where(job.c.job_id == param("job_id"), job.c.attempts == param("n"))
    .values(
        progress=func.coalesce(param("progress"), job.c.progress),
        comment=func.coalesce(param("comment"), job.c.comment),
    ),
    unique_rows=True,
)
_READ_NEXT_ID = Statement(select(meta.c.value).where(meta.c.name == literal("next_job_id")))
_SAVE_NEXT_ID = Statement(
    update(meta).where(meta.c.name == literal("next_job_id")).values(value=param("next_id"))
)


def add(tx: Transaction, rows: Sequence[NewJob]) -> None:
    """Insert new jobs and count them as queued."""
    add_uncounted(tx, rows)
    for row in rows:
        tx.job_count_changes[row.command_id, JobState.QUEUED] += 1


def add_uncounted(tx: Transaction, rows: Sequence[NewJob]) -> None:
    """Insert new jobs, which the caller counts."""
    _INSERT.run_many(
        tx, [row._asdict() | {"deadline_order": deadline_order(row.deadline_ms)} for row in rows]
    )


def find_by_key(tx: Transaction, key: str) -> tuple[int, str] | None:
    """Return id and state of the job that was submitted with this key, or None."""
    rows = _FIND_BY_KEY.run(tx, key=key)
    return (rows[0][0], rows[0][1]) if rows else None


def read_flags(tx: Transaction, job_ids: Sequence[int]) -> dict[int, JobFlags]:
    return {row[0]: JobFlags(*row) for row in _READ_FLAGS.run(tx, job_ids=list(job_ids))}


def read_submission(tx: Transaction, job_id: int) -> dict[str, Any] | None:
    return read_submissions(tx, [job_id]).get(job_id)


def read_submissions(tx: Transaction, job_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the columns of jobs that `rerun` copies to new jobs, by job id."""
    rows = _READ_SUBMISSIONS.run(tx, job_ids=list(job_ids))
    return {row[0]: dict(zip(NewJob._fields, row, strict=True)) for row in rows}


def hold(tx: Transaction, job_ids: Sequence[int], sentence: str) -> None:
    """Hold the given jobs if they are queued; `sentence` becomes their reason."""
    _SET_HOLD.run(tx, job_ids=list(job_ids), hold=1, code="held", sentence=sentence)


def release(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Release the given jobs if they are queued, and reset their number of losses in a row."""
    _RELEASE.run(tx, job_ids=list(job_ids))


def set_priority(tx: Transaction, job_ids: Sequence[int], priority: int) -> None:
    """Change the priority of the given jobs if they are queued."""
    _SET_PRIORITY.run(tx, job_ids=list(job_ids), priority=priority)


def change(tx: Transaction, rows: Sequence[JobSettings]) -> None:
    """Replace settings of jobs, each in one row, that are queued. The caller updates their
    readiness."""
    _CHANGE.run_many(
        tx, [row._asdict() | {"deadline_order": deadline_order(row.deadline_ms)} for row in rows]
    )


def request_stop(tx: Transaction, job_ids: Sequence[int], by: str) -> None:
    _REQUEST_STOP.run(tx, job_ids=list(job_ids), by=by)


def record_progress(
    tx: Transaction, rows: Sequence[tuple[int, int, int | None, str | None]]
) -> None:
    """Store progress: rows of (job id, attempt number, progress in 0.1 percent, comment).

    None leaves the old value unchanged. Rows with an old attempt number are ignored.
    """
    _RECORD_PROGRESS.run_many(
        tx,
        [
            # Replace NUL, which a program's text may contain and PostgreSQL cannot store.
            {
                "job_id": job_id,
                "n": n,
                "progress": progress,
                "comment": comment and comment.replace("\0", "\N{REPLACEMENT CHARACTER}"),
            }
            for job_id, n, progress, comment in rows
        ],
    )


def read_next_id(tx: Transaction) -> int:
    """Return the id of the next job. Ids are never reused, not even after a prune."""
    return int(_READ_NEXT_ID.run(tx)[0][0])


def save_next_id(tx: Transaction, next_id: int) -> None:
    _SAVE_NEXT_ID.run(tx, next_id=str(next_id))
