"""The rules of a job's life: its state is what its attempts and events say."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.invariants.rule import Rule
from mythjobs.store.statement import literal

job, attempt = t.job, t.attempt

_FINAL: Final = [literal(state) for state in sorted(FINAL)]
_LIVE: Final = [literal(JobState.LEASED), literal(JobState.RUNNING)]
_EXITED: Final[ColumnElement[str]] = literal_column("""'{"kind": "exited",%'""")

_is_live = attempt.c.over_ms.is_(None)
_of_job = attempt.c.job_id == job.c.job_id
_last = and_(_of_job, attempt.c.n == job.c.attempts)

_ONE_LIVE = Rule(
    "I3",
    "job {0} has {1} live attempts",
    select(attempt.c.job_id, func.count())
    .where(_is_live)
    .group_by(attempt.c.job_id)
    .having(func.count() > 1),
    attempt.c.job_id,
)
_RISING = Rule(
    "I5",
    "attempt {1} of job {0} has a higher number than the job ever gave ({2})",
    select(job.c.job_id, attempt.c.n, job.c.attempts).where(_of_job, attempt.c.n > job.c.attempts),
    job.c.job_id,
)
_FENCED = Rule(
    "I6",
    "attempt {1} of job {0} is live, but {2} is the last",
    select(job.c.job_id, attempt.c.n, job.c.attempts).where(
        _of_job, _is_live, attempt.c.n < job.c.attempts
    ),
    job.c.job_id,
)
_NO_ATTEMPT = Rule(
    "I7",
    "job {0} is {1}, but no attempt of it is live on a machine that is known",
    select(job.c.job_id, job.c.state).where(
        job.c.state.in_(_LIVE),
        ~exists().where(_last, _is_live, t.machine.c.machine_id == attempt.c.machine_id),
    ),
    job.c.job_id,
)
_STRAY = Rule(
    "I7",
    "job {0} is {1}, but its attempt {2} is live",
    select(job.c.job_id, job.c.state, attempt.c.n).where(
        _of_job, _is_live, job.c.state.not_in(_LIVE)
    ),
    job.c.job_id,
)
_UNSAID = Rule(
    "I7",
    "job {0} is queued again after attempt {1}, and no event says why",
    select(job.c.job_id, attempt.c.n).where(
        _last,
        job.c.state == literal(JobState.QUEUED),
        ~exists().where(t.event.c.job_id == job.c.job_id, t.event.c.n == job.c.attempts),
    ),
    job.c.job_id,
)
_NO_REASON = Rule(
    "I7",
    "job {0} is {1}, and no reason is given",
    select(job.c.job_id, job.c.state).where(
        job.c.state.in_([literal(JobState.FAILED), literal(JobState.CANCELLED)]),
        job.c.reason_code == literal_column("''"),
    ),
    job.c.job_id,
)
_NOT_OVER = Rule(
    "I9",
    "attempt {1} of job {0} is over, without an outcome or how it is known",
    select(attempt.c.job_id, attempt.c.n).where(
        attempt.c.over_ms.is_not(None),
        or_(attempt.c.outcome.is_(None), attempt.c.evidence.is_(None)),
    ),
    attempt.c.job_id,
)
_TOO_EARLY = Rule(
    "I9",
    "attempt {1} of job {0} is live, but has an outcome",
    select(attempt.c.job_id, attempt.c.n).where(_is_live, attempt.c.outcome.is_not(None)),
    attempt.c.job_id,
)
_CANCELLED = Rule(
    "I13",
    "job {0} was to be stopped (by {1}), but is queued",
    select(job.c.job_id, job.c.stop_requested).where(
        job.c.state == literal(JobState.QUEUED), job.c.stop_requested.is_not(None)
    ),
    job.c.job_id,
)
_STATE = Rule(
    "I16",
    "job {0} is {1}, but its attempt {2} says otherwise (started at {3})",
    select(job.c.job_id, job.c.state, attempt.c.n, attempt.c.started_ms).where(
        _last,
        _is_live,
        or_(
            and_(job.c.state == literal(JobState.RUNNING), attempt.c.started_ms.is_(None)),
            and_(job.c.state == literal(JobState.LEASED), attempt.c.started_ms.is_not(None)),
        ),
    ),
    job.c.job_id,
)
_END = Rule(
    "I16",
    "job {0} is {1}, but the instant of its end is {2}",
    select(job.c.job_id, job.c.state, job.c.ended_ms).where(
        or_(
            and_(job.c.state.in_(_FINAL), job.c.ended_ms.is_(None)),
            and_(job.c.state.not_in(_FINAL), job.c.ended_ms.is_not(None)),
        )
    ),
    job.c.job_id,
)
_UNTRIED = Rule(
    "I16",
    "job {0} is {1}, but never had an attempt that is over",
    select(job.c.job_id, job.c.state).where(
        job.c.state.in_([literal(JobState.SUCCEEDED), literal(JobState.FAILED)]),
        ~exists().where(_of_job, attempt.c.over_ms.is_not(None)),
    ),
    job.c.job_id,
)
_ORPHAN = Rule(
    "I17",
    "attempt {1} is of job {0}, which is not there",
    select(attempt.c.job_id, attempt.c.n).where(
        ~exists().where(job.c.job_id == attempt.c.job_id),
    ),
    attempt.c.job_id,
)
_NO_JOB = Rule(
    "I17",
    "event {1} ({2}) is of job {0}, which is not there",
    select(t.event.c.job_id, t.event.c.event_id, t.event.c.kind).where(
        t.event.c.job_id > 0, ~exists().where(job.c.job_id == t.event.c.job_id)
    ),
    t.event.c.job_id,
)
_GUESSED = Rule(
    "I21",
    "job {0} succeeded, but no exit of its last attempt was seen: {1}",
    select(job.c.job_id, attempt.c.outcome).where(
        _last,
        job.c.state == literal(JobState.SUCCEEDED),
        or_(attempt.c.outcome.is_(None), attempt.c.outcome.not_like(_EXITED)),
    ),
    job.c.job_id,
)

RULES: Final = (
    _ONE_LIVE, _RISING, _FENCED, _NO_ATTEMPT, _STRAY, _UNSAID, _NO_REASON, _NOT_OVER, _TOO_EARLY,
    _CANCELLED, _STATE, _END, _UNTRIED, _ORPHAN, _NO_JOB, _GUESSED,
)  # fmt: skip
