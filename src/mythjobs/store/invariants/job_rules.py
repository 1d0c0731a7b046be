"""Invariants of single jobs: a job's state agrees with its attempts and events."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL, JobState
from mythjobs.model.tick import TickOutcome
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal
from mythjobs.store.invariants.rule import InvariantRule
from mythjobs.store.schedule_tables import schedule_tick

job, attempt, tick = t.job, t.attempt, schedule_tick

_FINAL: Final = [literal(state) for state in sorted(FINAL)]
_LIVE: Final = [literal(JobState.LEASED), literal(JobState.RUNNING)]
_EXITED: Final[ColumnElement[str]] = literal_column("""'{"kind": "exited",%'""")

_is_live = attempt.c.over_ms.is_(None)
_of_job = attempt.c.job_id == job.c.job_id
_is_last = and_(_of_job, attempt.c.n == job.c.attempts)

RULES: Final = (
    InvariantRule(
        "I3",
        "job {0} has {1} live attempts",
        select(attempt.c.job_id, func.count())
        .where(_is_live)
        .group_by(attempt.c.job_id)
        .having(func.count() > 1),
        attempt.c.job_id,
    ),
    InvariantRule(
        "I5",
        "attempt {1} of job {0} has a higher number than the job ever issued ({2})",
        select(job.c.job_id, attempt.c.n, job.c.attempts).where(
            _of_job, attempt.c.n > job.c.attempts
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I6",
        "attempt {1} of job {0} is live, but the last attempt is {2}",
        select(job.c.job_id, attempt.c.n, job.c.attempts).where(
            _of_job, _is_live, attempt.c.n < job.c.attempts
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} is {1}, but has no live attempt on a known machine",
        select(job.c.job_id, job.c.state).where(
            job.c.state.in_(_LIVE),
            ~exists().where(_is_last, _is_live, t.machine.c.machine_id == attempt.c.machine_id),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} is {1}, but its attempt {2} is live",
        select(job.c.job_id, job.c.state, attempt.c.n).where(
            _of_job, _is_live, job.c.state.not_in(_LIVE)
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} is queued again after attempt {1}, but no event gives the reason",
        select(job.c.job_id, attempt.c.n).where(
            _is_last,
            job.c.state == literal(JobState.QUEUED),
            ~exists().where(t.event.c.job_id == job.c.job_id, t.event.c.n == job.c.attempts),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I7",
        "job {0} is {1} without a reason",
        select(job.c.job_id, job.c.state).where(
            job.c.state.in_([literal(JobState.FAILED), literal(JobState.CANCELLED)]),
            job.c.reason_code == literal_column("''"),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I9",
        "attempt {1} of job {0} has ended, but its outcome or evidence is missing",
        select(attempt.c.job_id, attempt.c.n).where(
            attempt.c.over_ms.is_not(None),
            or_(attempt.c.outcome.is_(None), attempt.c.evidence.is_(None)),
        ),
        attempt.c.job_id,
    ),
    InvariantRule(
        "I9",
        "attempt {1} of job {0} is live, but has an outcome",
        select(attempt.c.job_id, attempt.c.n).where(_is_live, attempt.c.outcome.is_not(None)),
        attempt.c.job_id,
    ),
    InvariantRule(
        "I13",
        "a stop of job {0} was requested (by {1}), but the job is queued",
        select(job.c.job_id, job.c.stop_requested).where(
            job.c.state == literal(JobState.QUEUED), job.c.stop_requested.is_not(None)
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I15",
        "job {0} belongs to {1} ticks of schedules",
        select(tick.c.job_id, func.count())
        .where(tick.c.job_id.is_not(None))
        .group_by(tick.c.job_id)
        .having(func.count() > 1),
        tick.c.job_id,
    ),
    InvariantRule(
        "I15",
        "job {0} of a tick of schedule {1} does not exist, and the tick is submitted",
        select(tick.c.job_id, tick.c.schedule_id).where(
            tick.c.outcome == literal(TickOutcome.SUBMITTED),
            ~exists().where(job.c.job_id == tick.c.job_id),
        ),
        tick.c.job_id,
    ),
    InvariantRule(
        "I16",
        "job {0} is {1}, but the start time of its attempt {2} is {3}",
        select(job.c.job_id, job.c.state, attempt.c.n, attempt.c.started_ms).where(
            _is_last,
            _is_live,
            or_(
                and_(job.c.state == literal(JobState.RUNNING), attempt.c.started_ms.is_(None)),
                and_(job.c.state == literal(JobState.LEASED), attempt.c.started_ms.is_not(None)),
            ),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I16",
        "job {0} is {1}, but its end time is {2}",
        select(job.c.job_id, job.c.state, job.c.ended_ms).where(
            or_(
                and_(job.c.state.in_(_FINAL), job.c.ended_ms.is_(None)),
                and_(job.c.state.not_in(_FINAL), job.c.ended_ms.is_not(None)),
            )
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I16",
        "job {0} is {1}, but has no ended attempt",
        select(job.c.job_id, job.c.state).where(
            job.c.state.in_([literal(JobState.SUCCEEDED), literal(JobState.FAILED)]),
            ~exists().where(_of_job, attempt.c.over_ms.is_not(None)),
        ),
        job.c.job_id,
    ),
    InvariantRule(
        "I17",
        "attempt {1} belongs to job {0}, which does not exist",
        select(attempt.c.job_id, attempt.c.n).where(
            ~exists().where(job.c.job_id == attempt.c.job_id)
        ),
        attempt.c.job_id,
    ),
    InvariantRule(
        "I17",
        "event {1} ({2}) belongs to job {0}, which does not exist",
        select(t.event.c.job_id, t.event.c.event_id, t.event.c.kind).where(
            t.event.c.job_id > 0, ~exists().where(job.c.job_id == t.event.c.job_id)
        ),
        t.event.c.job_id,
    ),
    InvariantRule(
        "I17",
        "output of attempt {1} belongs to job {0}, which does not exist",
        select(t.kept_output.c.job_id, t.kept_output.c.n).where(
            ~exists().where(job.c.job_id == t.kept_output.c.job_id)
        ),
        t.kept_output.c.job_id,
    ),
    InvariantRule(
        "I21",
        "job {0} succeeded, but the exit of its last attempt was not observed: {1}",
        select(job.c.job_id, attempt.c.outcome).where(
            _is_last,
            job.c.state == literal(JobState.SUCCEEDED),
            or_(attempt.c.outcome.is_(None), attempt.c.outcome.not_like(_EXITED)),
        ),
        job.c.job_id,
    ),
)
