"""Job readiness: maintains `job.ready_class`, which is set while a job waits only for a machine.

Jobs about the same subject (say, a file) run one after another, unless all of them allow overlap.
Of the jobs of one job class about one subject, only the first is ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal_column, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import JsonItem, in_list, json_rows, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job = t.job


def _is_free(row: Any) -> ColumnElement[bool]:
    """Return the condition that a job waits for nothing but its subject and a machine.

    The condition must agree with find_job_wait() in scheduler/blocked.py. Values are literals,
    because SQLite uses a partial index only for literals.
    """
    return and_(
        row.c.state == literal(JobState.QUEUED),
        row.c.hold == literal_column("0"),
        row.c.stop_requested.is_(None),
        row.c.not_before_ms.is_(None),
        row.c.unmet == literal_column("0"),
    )


# SQLite uses the partial indexes on subjects only if the condition contains `is_not(None)`.
_ABOUT_SUBJECTS = (in_list(job.c.subject, "subjects"), job.c.subject.is_not(None))

_REFRESH = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.subject.is_(None))
    .values(ready_class=case((_is_free(job), job.c.class_id), else_=None))
    .returning(job.c.ready_class)
)
_READ_SUBJECTS = Statement(
    select(job.c.subject)
    .where(in_list(job.c.job_id, "job_ids"), job.c.subject.is_not(None))
    .distinct()
)
_READ_LIVE = Statement(
    select(job.c.subject, func.min(job.c.overlap))
    .where(
        *_ABOUT_SUBJECTS,
        job.c.state.in_([literal(JobState.LEASED), literal(JobState.RUNNING)]),
    )
    .group_by(job.c.subject)
)
_CLEAR_READY = Statement(
    update(job).where(*_ABOUT_SUBJECTS, job.c.ready_class.is_not(None)).values(ready_class=None)
)
# For each position (subject, class id), find the first job that waits only for its subject and a
# machine, among the jobs about the subject in classes with higher ids. This takes one index look-up
# for each position, because a subject may have a million jobs.
_positions = json_rows("positions")
_candidate = job.alias("candidate")
_FIND_FIRST = Statement(
    select(
        select(_candidate.c.job_id)
        .where(
            _candidate.c.subject == JsonItem(_positions.c.value, 0, is_text=True),
            _candidate.c.subject.is_not(None),
            _candidate.c.class_id > JsonItem(_positions.c.value, 1),
            _is_free(_candidate),
        )
        .order_by(
            _candidate.c.class_id,
            _candidate.c.priority.desc(),
            _candidate.c.deadline_order,
            _candidate.c.job_id,
        )
        .limit(literal_column("1"))
        .correlate(_positions)
        .scalar_subquery()
    ).select_from(_positions)
)
_READ_FIRST = Statement(
    select(job.c.subject, job.c.class_id, job.c.overlap, job.c.job_id).where(
        in_list(job.c.job_id, "job_ids")
    )
)
_SET_READY = Statement(
    update(job).where(in_list(job.c.job_id, "job_ids")).values(ready_class=job.c.class_id)
)
_CLEAR_DUE = Statement(
    update(job)
    .where(
        job.c.job_id.in_(
            select(job.c.job_id)
            .where(job.c.not_before_ms.is_not(None), job.c.not_before_ms <= param("at_ms"))
            .order_by(job.c.not_before_ms)
            .limit(param("limit"))
            .correlate(None)
        )
    )
    .values(not_before_ms=None)
    .returning(job.c.job_id)
)
_FIND_NEXT_DUE = Statement(
    select(job.c.not_before_ms)
    .where(job.c.not_before_ms.is_not(None))
    .order_by(job.c.not_before_ms)
    .limit(1)
)
_FIND_READY_CLASS = Statement(
    select(job.c.ready_class)
    .where(job.c.ready_class.is_not(None), job.c.ready_class > param("after_class_id"))
    .order_by(job.c.ready_class)
    .limit(1)
)


def refresh(tx: Transaction, job_ids: Sequence[int]) -> set[int]:
    """Update the readiness of jobs. Call it after each change of a job, in the same transaction.

    Return the ids of job classes that may have more ready jobs than before.
    """
    if not job_ids:
        return set()
    ids = list(job_ids)
    classes = {row[0] for row in _REFRESH.run(tx, job_ids=ids) if row[0] is not None}
    subjects = [row[0] for row in _READ_SUBJECTS.run(tx, job_ids=ids)]
    return classes | refresh_subjects(tx, subjects)


def refresh_subjects(tx: Transaction, subjects: Iterable[str]) -> set[int]:
    """Make ready, for each subject, the first job of each class that may run beside live jobs.

    The other jobs of the class stay unready. The first jobs of several classes may be ready at the
    same time; PlacementWalk leases only one of them, unless all of them may overlap.
    Return the ids of the classes whose jobs are ready now. The number of statements depends on the
    number of classes, not of subjects.
    """
    listed = sorted(set(subjects))
    if not listed:
        return set()
    _CLEAR_READY.run(tx, subjects=listed)
    live: dict[str, int] = dict(_READ_LIVE.run(tx, subjects=listed))
    positions = [(each, 0) for each in listed if live.get(each, 1)]
    classes: set[int] = set()
    first_ids: list[int] = []
    while positions:
        found = [row[0] for row in _FIND_FIRST.run(tx, positions=positions) if row[0] is not None]
        rows = _READ_FIRST.run(tx, job_ids=found) if found else []
        positions = [(subject, class_id) for subject, class_id, *_ in rows]
        for subject, class_id, overlap, job_id in rows:
            # `overlap` is the same for all jobs of a class, as the command's revision defines it.
            if overlap or subject not in live:
                classes.add(class_id)
                first_ids.append(job_id)
    if first_ids:
        _SET_READY.run(tx, job_ids=first_ids)
    return classes


def clear_due(tx: Transaction, at_ms: int, limit: int = 1000) -> list[int]:
    """Clear `not_before_ms` of up to `limit` jobs whose start time has come; return their ids.

    The column is cleared so that such a job does not wait again if the clock is set back.
    """
    return [row[0] for row in _CLEAR_DUE.run(tx, at_ms=at_ms, limit=limit)]


def find_next_due_ms(tx: Transaction) -> int | None:
    rows = _FIND_NEXT_DUE.run(tx)
    return rows[0][0] if rows else None


def read_ready_classes(tx: Transaction) -> set[int]:
    """Return the ids of all classes with a ready job. Takes one index look-up per class."""
    classes: set[int] = set()
    class_id: Any = 0
    while rows := _FIND_READY_CLASS.run(tx, after_class_id=class_id):
        class_id = rows[0][0]
        classes.add(class_id)
    return classes
