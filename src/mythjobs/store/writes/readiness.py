"""Keeps `ready_class`: set exactly while nothing but a place on a machine is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, case, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job = t.job

# What a job itself must have, apart from its subject. eligibility.py explains the same.
_FREE = and_(
    job.c.state == literal(JobState.QUEUED),
    job.c.hold == 0,
    job.c.stop_requested.is_(None),
    job.c.not_before_ms.is_(None),
    job.c.unmet == 0,
)

_REFRESH = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.subject.is_(None))
    .values(ready_class=case((_FREE, job.c.class_id), else_=None))
    .returning(job.c.ready_class)
)
_SUBJECTS = Statement(
    select(job.c.subject)
    .where(in_list(job.c.job_id, "job_ids"), job.c.subject.is_not(None))
    .distinct()
)
_LIVE = Statement(
    select(job.c.overlap)
    .where(
        job.c.subject == param("about"),
        job.c.subject.is_not(None),
        job.c.state.in_([literal(JobState.LEASED), literal(JobState.RUNNING)]),
    )
    .order_by(job.c.overlap)
)
_CLEAR = Statement(
    update(job)
    .where(
        job.c.subject == param("about"),
        job.c.subject.is_not(None),
        job.c.ready_class.is_not(None),
    )
    .values(ready_class=None)
)
_FIRST = Statement(
    select(job.c.class_id, job.c.job_id)
    .where(
        job.c.subject == param("about"),
        job.c.subject.is_not(None),
        job.c.class_id > param("above"),
        job.c.overlap >= param("least"),
        _FREE,
    )
    .order_by(job.c.class_id, job.c.priority.desc(), job.c.deadline_order, job.c.job_id)
    .limit(1)
)
_PROMOTE = Statement(
    update(job).where(in_list(job.c.job_id, "job_ids")).values(ready_class=job.c.class_id)
)
_DUE = Statement(
    update(job)
    .where(
        job.c.job_id.in_(
            select(job.c.job_id)
            .where(job.c.not_before_ms.is_not(None), job.c.not_before_ms <= param("at"))
            .order_by(job.c.not_before_ms)
            .limit(param("most"))
            .correlate(None)
        )
    )
    .values(not_before_ms=None)
    .returning(job.c.job_id)
)
_NEXT_DUE = Statement(
    select(job.c.not_before_ms)
    .where(job.c.not_before_ms.is_not(None))
    .order_by(job.c.not_before_ms)
    .limit(1)
)


def refresh(tx: Transaction, job_ids: Sequence[int]) -> set[int]:
    """Sets these jobs' readiness right after anything about them changed.

    Answers the classes that may have a ready job more than before.
    """
    if not job_ids:
        return set()
    ids = list(job_ids)
    classes = {row[0] for row in _REFRESH.run(tx, job_ids=ids) if row[0] is not None}
    subjects = [row[0] for row in _SUBJECTS.run(tx, job_ids=ids)]
    return classes | refresh_subjects(tx, subjects)


def refresh_subjects(tx: Transaction, subjects: Iterable[str]) -> set[int]:
    """Of each subject, makes the first job of each class ready that may run beside the live ones.

    Only one a class: a turn that leases many must not find two of one subject. Answers the
    classes of the jobs that are ready now.
    """
    classes: set[int] = set()
    for subject in subjects:
        _CLEAR.run(tx, about=subject)
        live = _LIVE.run(tx, about=subject)
        if live and not live[0][0]:
            continue
        firsts: list[int] = []
        above = 0
        while found := _FIRST.run(tx, about=subject, above=above, least=1 if live else 0):
            above, job_id = found[0]
            firsts.append(job_id)
            classes.add(above)
        if firsts:
            _PROMOTE.run(tx, job_ids=firsts)
    return classes


def clear_due(tx: Transaction, at_ms: int, most: int = 1000) -> list[int]:
    """The first of the jobs whose `not_before` has come. It is taken away: a stepped clock undoes
    nothing."""
    return [row[0] for row in _DUE.run(tx, at=at_ms, most=most)]


def find_next_due_ms(tx: Transaction) -> int | None:
    rows = _NEXT_DUE.run(tx)
    return rows[0][0] if rows else None


_CLASS_ABOVE = Statement(
    select(job.c.ready_class)
    .where(job.c.ready_class.is_not(None), job.c.ready_class > param("above"))
    .order_by(job.c.ready_class)
    .limit(1)
)


def read_ready_classes(tx: Transaction) -> set[int]:
    """Every class with a ready job: one look into the index for each, not one for each job."""
    classes: set[int] = set()
    above: Any = 0
    while found := _CLASS_ABOVE.run(tx, above=above):
        above = found[0][0]
        classes.add(above)
    return classes
