"""The rules of the queue: keys, subjects, dependencies, batches and what is counted of them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.invariants.rule import Rule, Violation
from mythjobs.store.statement import Statement, in_list, literal
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.batches import HOLD_UNOPENED
from mythjobs.store.writes.dependencies import ACCEPTED_STATES, UNMET

job, dependency, batch, tally = t.job, t.dependency, t.batch, t.tally
other = job.alias("other")

_FINAL: Final = [literal(state) for state in sorted(FINAL)]
_LIVE: Final = [literal(JobState.LEASED), literal(JobState.RUNNING)]
_queued = job.c.state == literal(JobState.QUEUED)


def _free(row: Any) -> ColumnElement[bool]:
    """Nothing but a place and its subject hinders this job."""
    return and_(
        row.c.state == literal(JobState.QUEUED),
        row.c.hold == 0,
        row.c.stop_requested.is_(None),
        row.c.not_before_ms.is_(None),
        row.c.unmet == 0,
    )


_same_subject = and_(other.c.subject == job.c.subject, other.c.subject.is_not(None))
_taken = exists().where(
    _same_subject,
    other.c.state.in_(_LIVE),
    other.c.job_id != job.c.job_id,
    or_(other.c.overlap == 0, job.c.overlap == 0),
)
_live_sibling = exists().where(_same_subject, other.c.state.in_(_LIVE))
_before_it = exists().where(
    _same_subject,
    other.c.class_id == job.c.class_id,
    _free(other),
    # Beside a live job only one that may overlap is in the order at all.
    or_(other.c.overlap == 1, job.c.overlap == 0, ~_live_sibling),
    or_(
        other.c.priority > job.c.priority,
        and_(
            other.c.priority == job.c.priority,
            or_(
                other.c.deadline_order < job.c.deadline_order,
                and_(
                    other.c.deadline_order == job.c.deadline_order,
                    other.c.job_id < job.c.job_id,
                ),
            ),
        ),
    ),
)

_ONCE = Rule(
    "I2",
    "jobs {0} and {1} have the same key {2!r}",
    select(job.c.job_id, other.c.job_id, job.c.key).where(
        job.c.key.is_not(None), other.c.key == job.c.key, other.c.job_id != job.c.job_id
    ),
    job.c.job_id,
)
_WRONG_CLASS = Rule(
    "READY",
    "job {0} is {1} and ready in class {2}, but of class {3}",
    select(job.c.job_id, job.c.state, job.c.ready_class, job.c.class_id).where(
        job.c.ready_class.is_not(None),
        or_(job.c.ready_class != job.c.class_id, job.c.state != literal(JobState.QUEUED)),
    ),
    job.c.job_id,
)
_DOUBLY_LIVE = Rule(
    "SUBJECT",
    "jobs {0} and {1} about {2!r} are both live, and must not overlap",
    select(job.c.job_id, other.c.job_id, job.c.subject).where(
        job.c.subject.is_not(None),
        job.c.state.in_(_LIVE),
        _same_subject,
        other.c.state.in_(_LIVE),
        other.c.job_id != job.c.job_id,
        or_(job.c.overlap == 0, other.c.overlap == 0),
    ),
    job.c.job_id,
)
_TOO_READY = Rule(
    "SUBJECT",
    "job {0} about {1!r} is ready, but another is live or comes first in its class",
    select(job.c.job_id, job.c.subject).where(
        job.c.subject.is_not(None), job.c.ready_class.is_not(None), or_(_taken, _before_it)
    ),
    job.c.job_id,
)
_FORGOTTEN = Rule(
    "SUBJECT",
    "job {0} about {1!r} is the next of its class, but is not ready",
    select(job.c.job_id, job.c.subject).where(
        job.c.subject.is_not(None), _free(job), job.c.ready_class.is_(None), ~_taken, ~_before_it
    ),
    job.c.job_id,
)
_open_count = (
    select(func.count())
    .select_from(dependency)
    .where(dependency.c.job_id == job.c.job_id, dependency.c.met == UNMET)
    .scalar_subquery()
)
_UNMET = Rule(
    "COUNT",
    "job {0} says it waits for {1} jobs, but waits for {2}",
    select(job.c.job_id, job.c.unmet, _open_count).where(
        job.c.state.not_in(_FINAL), job.c.unmet != _open_count
    ),
    job.c.job_id,
)
_WAITS_FOR_NONE = Rule(
    "I7",
    "job {0} waits for job {1}, which is over or not there",
    select(dependency.c.job_id, dependency.c.on_job_id).where(
        dependency.c.met == UNMET,
        ~exists().where(job.c.job_id == dependency.c.on_job_id, job.c.state.not_in(_FINAL)),
    ),
    dependency.c.job_id,
)
_OVER_AND_WAITS = Rule(
    "I7",
    "job {0} is over, but still waits for job {1}",
    select(dependency.c.job_id, dependency.c.on_job_id).where(
        dependency.c.met == UNMET,
        ~exists().where(job.c.job_id == dependency.c.job_id, job.c.state.not_in(_FINAL)),
    ),
    dependency.c.job_id,
)
_IN_VAIN = Rule(
    "I7",
    "job {0} is not over, but job {1}, which it waited for ({2}), is {3}",
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept, other.c.state).where(
        job.c.job_id == dependency.c.job_id,
        job.c.state.not_in(_FINAL),
        other.c.job_id == dependency.c.on_job_id,
        other.c.state.in_(_FINAL),
        or_(
            *(
                and_(
                    dependency.c.accept == literal(accept),
                    other.c.state.not_in([literal(state) for state in sorted(states)]),
                )
                for accept, states in ACCEPTED_STATES.items()
            )
        ),
    ),
    dependency.c.job_id,
)
_STUCK = Rule(
    "I7",
    "job {0} is kept back until its batch {1} is opened, which nothing will do",
    select(job.c.job_id, job.c.batch_id).where(
        _queued,
        job.c.hold == HOLD_UNOPENED,
        ~exists().where(batch.c.batch_id == job.c.batch_id, batch.c.opened_ms.is_(None)),
        ~exists().where(
            t.upkeep.c.next_job_id <= job.c.job_id, t.upkeep.c.last_job_id >= job.c.job_id
        ),
    ),
    job.c.job_id,
)
_next_id: ColumnElement[int] = literal_column(
    "(SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'next_job_id')"
)
_GIVEN_TWICE = Rule(
    "I5",
    "job {0} has a number that will be given again",
    select(job.c.job_id).where(job.c.job_id >= _next_id),
    job.c.job_id,
)


def _of_batch(*states: ColumnElement[str]) -> ColumnElement[int]:
    query = select(func.count()).where(
        job.c.job_id >= batch.c.first_job_id, job.c.job_id < batch.c.first_job_id + batch.c.jobs
    )
    if states:
        query = query.where(job.c.state.in_(states))
    return query.correlate(batch).scalar_subquery()


_over = batch.c.succeeded + batch.c.failed + batch.c.cancelled
# Jobs that are not there any more were pruned, so they were over.
_BATCH = Rule(
    "COUNT",
    "the batch of job {0} counts {1} succeeded, {2} failed, {3} cancelled; its jobs say otherwise",
    select(batch.c.first_job_id, batch.c.succeeded, batch.c.failed, batch.c.cancelled).where(
        batch.c.opened_ms.is_not(None),
        or_(
            batch.c.succeeded < _of_batch(literal(JobState.SUCCEEDED)),
            batch.c.failed < _of_batch(literal(JobState.FAILED)),
            batch.c.cancelled < _of_batch(literal(JobState.CANCELLED)),
            _over != batch.c.jobs - _of_batch() + _of_batch(*_FINAL),
        ),
    ),
    within=batch.c.batch_id.in_(select(job.c.batch_id).where(in_list(job.c.job_id, "job_ids"))),
)

RULES: Final = (
    _ONCE, _WRONG_CLASS, _DOUBLY_LIVE, _TOO_READY, _FORGOTTEN, _UNMET, _WAITS_FOR_NONE,
    _OVER_AND_WAITS, _IN_VAIN, _STUCK, _GIVEN_TWICE, _BATCH,
)  # fmt: skip

_TALLIES = Statement(select(tally.c.command_id, tally.c.state, tally.c.jobs))
_COUNTED = Statement(
    select(job.c.command_id, job.c.state, func.count()).group_by(job.c.command_id, job.c.state)
)


def tallies(tx: Transaction) -> list[Violation]:
    """What is counted as jobs move must be what a count of them all says."""
    said = {(row[0], row[1]): row[2] for row in _TALLIES.run(tx) if row[2]}
    counted = {(row[0], row[1]): row[2] for row in _COUNTED.run(tx)}
    return [
        Violation(
            "COUNT",
            None,
            f"{said.get((command_id, state), 0)} jobs of command {command_id} are said to be "
            f"{state}, but {counted.get((command_id, state), 0)} are",
        )
        for command_id, state in sorted(said.keys() | counted.keys())
        if said.get((command_id, state), 0) != counted.get((command_id, state), 0)
    ]
