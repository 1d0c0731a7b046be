"""Invariants between jobs: keys, subjects, dependencies, batches and counters."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal
from mythjobs.store.invariants.rule import InvariantRule, Violation
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.batches import HOLD_UNOPENED
from mythjobs.store.writes.dependencies import ACCEPTED_STATES, UNMET
from mythjobs.store.writes.upkeep import UpkeepKind

job, dependency, batch, tally = t.job, t.dependency, t.batch, t.tally
other = job.alias("other")

_FINAL: Final = [literal(state) for state in sorted(FINAL)]
_LIVE: Final = [literal(JobState.LEASED), literal(JobState.RUNNING)]


def _is_free(row: Any) -> ColumnElement[bool]:
    """Return the condition that a job waits for nothing but its subject and a machine."""
    return and_(
        row.c.state == literal(JobState.QUEUED),
        row.c.hold == 0,
        row.c.stop_requested.is_(None),
        row.c.not_before_ms.is_(None),
        row.c.unmet == 0,
    )


_same_subject = and_(other.c.subject == job.c.subject, other.c.subject.is_not(None))
_is_subject_taken = exists().where(
    _same_subject,
    other.c.state.in_(_LIVE),
    other.c.job_id != job.c.job_id,
    or_(other.c.overlap == 0, job.c.overlap == 0),
)
_has_live_sibling = exists().where(_same_subject, other.c.state.in_(_LIVE))
_has_predecessor = exists().where(
    _same_subject,
    other.c.class_id == job.c.class_id,
    _is_free(other),
    # While a job about the subject is live, a job that must not overlap cannot be ready. So it is
    # then no predecessor of a job that may overlap.
    or_(other.c.overlap == 1, job.c.overlap == 0, ~_has_live_sibling),
    or_(
        other.c.priority > job.c.priority,
        and_(
            other.c.priority == job.c.priority,
            or_(
                other.c.deadline_order < job.c.deadline_order,
                and_(other.c.deadline_order == job.c.deadline_order, other.c.job_id < job.c.job_id),
            ),
        ),
    ),
)
_unmet_count = (
    select(func.count())
    .select_from(dependency)
    .where(dependency.c.job_id == job.c.job_id, dependency.c.met == UNMET)
    .scalar_subquery()
)
# Condition that upkeep still has to resolve dependencies on an ended job: if very many jobs depend
# on the job, later turns resolve these dependencies in slices.
_is_being_resolved = exists().where(
    t.upkeep.c.kind == UpkeepKind.RESOLVE.value, t.upkeep.c.last_job_id == dependency.c.on_job_id
)
_next_id: ColumnElement[int] = literal_column(
    "(SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'next_job_id')"
)


def _count_in_batch(*states: ColumnElement[str]) -> ColumnElement[int]:
    query = select(func.count()).where(
        job.c.job_id >= batch.c.first_job_id, job.c.job_id < batch.c.first_job_id + batch.c.jobs
    )
    if states:
        query = query.where(job.c.state.in_(states))
    return query.correlate(batch).scalar_subquery()


RULES: Final = (
    InvariantRule(
        "I2",
        "jobs {0} and {1} have the same key {2!r}",
        select(job.c.job_id, other.c.job_id, job.c.key).where(
            job.c.key.is_not(None), other.c.key == job.c.key, other.c.job_id != job.c.job_id
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "READY",
        "job {0} is {1} and ready in class {2}, but belongs to class {3}",
        select(job.c.job_id, job.c.state, job.c.ready_class, job.c.class_id).where(
            job.c.ready_class.is_not(None),
            or_(job.c.ready_class != job.c.class_id, job.c.state != literal(JobState.QUEUED)),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "SUBJECT",
        "jobs {0} and {1} about {2!r} are both live, but must not overlap",
        select(job.c.job_id, other.c.job_id, job.c.subject).where(
            job.c.subject.is_not(None),
            job.c.state.in_(_LIVE),
            _same_subject,
            other.c.state.in_(_LIVE),
            other.c.job_id != job.c.job_id,
            or_(job.c.overlap == 0, other.c.overlap == 0),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "SUBJECT",
        "job {0} about {1!r} is ready, but another is live or comes first in its class",
        select(job.c.job_id, job.c.subject).where(
            job.c.subject.is_not(None),
            job.c.ready_class.is_not(None),
            or_(_is_subject_taken, _has_predecessor),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "SUBJECT",
        "job {0} about {1!r} is the next of its class, but is not ready",
        select(job.c.job_id, job.c.subject).where(
            job.c.subject.is_not(None),
            _is_free(job),
            job.c.ready_class.is_(None),
            ~_is_subject_taken,
            ~_has_predecessor,
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "COUNT",
        "job {0} counts {1} unmet dependencies, but has {2}",
        select(job.c.job_id, job.c.unmet, _unmet_count).where(
            job.c.state.not_in(_FINAL), job.c.unmet != _unmet_count
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} waits for job {1}, which has ended or does not exist",
        select(dependency.c.job_id, dependency.c.on_job_id).where(
            dependency.c.met == UNMET,
            ~exists().where(job.c.job_id == dependency.c.on_job_id, job.c.state.not_in(_FINAL)),
            ~_is_being_resolved,
        ),
        dependency.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} has ended, but its dependency on job {1} is unmet",
        select(dependency.c.job_id, dependency.c.on_job_id).where(
            dependency.c.met == UNMET,
            ~exists().where(job.c.job_id == dependency.c.job_id, job.c.state.not_in(_FINAL)),
        ),
        dependency.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} can never run, but has not ended: job {1}, on which it depends ({2}), is {3}",
        select(
            dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept, other.c.state
        ).where(
            job.c.job_id == dependency.c.job_id,
            job.c.state.not_in(_FINAL),
            other.c.job_id == dependency.c.on_job_id,
            other.c.state.in_(_FINAL),
            or_(dependency.c.met != UNMET, ~_is_being_resolved),
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
    ),
    InvariantRule(
        "I7",
        "job {0} waits for its batch {1} to be opened, but no upkeep will do that",
        select(job.c.job_id, job.c.batch_id).where(
            job.c.state == literal(JobState.QUEUED),
            job.c.hold == HOLD_UNOPENED,
            ~exists().where(batch.c.batch_id == job.c.batch_id, batch.c.opened_ms.is_(None)),
            ~exists().where(
                t.upkeep.c.next_job_id <= job.c.job_id, t.upkeep.c.last_job_id >= job.c.job_id
            ),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I5",
        "job {0} has an id that will be issued again",
        select(job.c.job_id).where(job.c.job_id >= _next_id),
        job.c.job_id,
    ),
    # A batch's jobs that do not exist any more were pruned, so they count as ended.
    InvariantRule(
        "COUNT",
        "the batch of job {0} counts {1} succeeded, {2} failed, {3} cancelled; its jobs differ",
        select(batch.c.first_job_id, batch.c.succeeded, batch.c.failed, batch.c.cancelled).where(
            batch.c.opened_ms.is_not(None),
            or_(
                batch.c.succeeded < _count_in_batch(literal(JobState.SUCCEEDED)),
                batch.c.failed < _count_in_batch(literal(JobState.FAILED)),
                batch.c.cancelled < _count_in_batch(literal(JobState.CANCELLED)),
                batch.c.succeeded + batch.c.failed + batch.c.cancelled
                != batch.c.jobs - _count_in_batch() + _count_in_batch(*_FINAL),
            ),
        ),
        within=batch.c.batch_id.in_(select(job.c.batch_id).where(in_list(job.c.job_id, "job_ids"))),
    ),
)

_READ_COUNTERS = Statement(select(tally.c.command_id, tally.c.state, tally.c.jobs))
_COUNT_JOBS = Statement(
    select(job.c.command_id, job.c.state, func.count()).group_by(job.c.command_id, job.c.state)
)


def check_counters(tx: Transaction) -> list[Violation]:
    """Return a violation for each stored counter of jobs that differs from the counted jobs."""
    stored = {(row[0], row[1]): row[2] for row in _READ_COUNTERS.run(tx) if row[2]}
    counted = {(row[0], row[1]): row[2] for row in _COUNT_JOBS.run(tx)}
    return [
        Violation(
            "COUNT",
            None,
            f"the counter of {state} jobs of command {command_id} is "
            f"{stored.get((command_id, state), 0)}, but there are "
            f"{counted.get((command_id, state), 0)}",
        )
        for command_id, state in sorted(stored.keys() | counted.keys())
        if stored.get((command_id, state), 0) != counted.get((command_id, state), 0)
    ]


_READ_OUTPUT_TOTALS = Statement(select(t.output_total.c.command_id, t.output_total.c.bytes))
_SUM_OUTPUT = Statement(
    select(t.kept_output.c.command_id, func.sum(t.kept_output.c.bytes)).group_by(
        t.kept_output.c.command_id
    )
)


def check_output_totals(tx: Transaction) -> list[Violation]:
    """Return a violation for each stored total of kept output that differs from the actual sum."""
    stored = {row[0]: row[1] for row in _READ_OUTPUT_TOTALS.run(tx) if row[1]}
    summed = {row[0]: int(row[1]) for row in _SUM_OUTPUT.run(tx)}
    return [
        Violation(
            "COUNT",
            None,
            f"the total of kept output of command {command_id} is "
            f"{stored.get(command_id, 0)} bytes, but the sum is {summed.get(command_id, 0)}",
        )
        for command_id in sorted(stored.keys() | summed.keys())
        if stored.get(command_id, 0) != summed.get(command_id, 0)
    ]
