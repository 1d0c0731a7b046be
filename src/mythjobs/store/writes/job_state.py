"""Job state transitions. Only this module and late_results.py write column `job.state`.

Each statement tests the job's old state, so that only the transitions in model/life.py happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import insert, update

from mythjobs.model.life import FINAL, JobEvent, JobState, sources, target
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs, outputs

job, attempt = t.job, t.attempt


class Placement(NamedTuple):
    """Machine chosen for a job, and terms of the lease; `lease_s` None: never expires."""

    job_id: int
    machine_id: int
    boot_id: str
    silence: str
    lease_s: float | None = None


class LeasedJob(NamedTuple):
    """A job leased as a new attempt with number `n`, and the columns that its grant needs."""

    job_id: int
    n: int
    class_id: int
    command_id: int
    batch_id: int | None
    priority: int
    subject: str | None
    losses: int
    arguments: str
    failures: int
    submitted_ms: int


class AttemptStart(NamedTuple):
    job_id: int
    n: int
    command_id: int
    at_ms: int


class AttemptEnd(NamedTuple):
    """The end of an attempt, and its effects on the job.

    old_state: the job's state before this transaction.
    ended_ms: None means the time of the transaction.
    """

    job_id: int
    n: int
    command_id: int
    batch_id: int | None
    old_state: str
    event: JobEvent
    started_ms: int | None
    outcome: str
    usage: str
    output: str
    evidence: str
    reason_code: str
    reason: str
    losses: int = 0
    hold: int = 0
    failures_added: int = 0  # 1: a failure that [retry] counts
    not_before_ms: int | None = None
    ended_ms: int | None = None
    output_data: str = ""  # column `data` of kept_output


class CancelledJob(NamedTuple):
    job_id: int
    command_id: int
    batch_id: int | None
    subject: str | None


def _sources(event: JobEvent) -> list[object]:
    return [literal(state) for state in sources(event)]


# job.attempts never decreases, so that the attempt number can serve as a fencing token.
_LEASE = Statement(
    update(job)
    .where(
        in_list(job.c.job_id, "job_ids"),
        job.c.state.in_(_sources(JobEvent.LEASED)),
        job.c.ready_class.is_not(None),
    )
    .values(
        state=literal(target(JobEvent.LEASED)),
        attempts=job.c.attempts + 1,
        ready_class=None,
        reason_code=param("code"),
        reason=param("sentence"),
    )
    .returning(job.c.job_id, job.c.attempts, *(job.c[name] for name in LeasedJob._fields[2:]))
)
_INSERT_ATTEMPT = Statement(insert(attempt), (*Placement._fields, "n", "leased_ms"))
_START_JOB = Statement(
    update(job)
    .where(
        job.c.job_id == param("job_id"),
        job.c.attempts == param("n"),
        job.c.state.in_(_sources(JobEvent.STARTED)),
    )
    .values(state=literal(target(JobEvent.STARTED))),
    unique_rows=True,
)
_IS_LIVE_ATTEMPT = (
    attempt.c.job_id == param("job_id"),
    attempt.c.n == param("n"),
    attempt.c.over_ms.is_(None),
)
_START_ATTEMPT = Statement(
    update(attempt).where(*_IS_LIVE_ATTEMPT).values(started_ms=param("at_ms")), unique_rows=True
)
_SET_PAUSED = Statement(
    update(attempt).where(*_IS_LIVE_ATTEMPT).values(paused=param("paused")), unique_rows=True
)
_END_ATTEMPT = Statement(
    update(attempt)
    .where(*_IS_LIVE_ATTEMPT)
    .values(
        started_ms=param("started_ms"),
        over_ms=param("at_ms"),
        outcome=param("outcome"),
        usage=param("usage"),
        output=param("output"),
        evidence=param("evidence"),
    ),
    unique_rows=True,
)


def _end_job(event: JobEvent) -> Statement:
    new_state = target(event)
    values: dict[str, object] = {
        "state": literal(new_state),
        "reason_code": param("reason_code"),
        "reason": param("reason"),
        "losses": param("losses"),
        "failures": job.c.failures + param("failures_added"),
    }
    if new_state in FINAL:
        values |= {"ended_ms": param("at_ms"), "ready_class": None}
    else:
        values |= {"hold": param("hold"), "not_before_ms": param("not_before_ms"), "progress": None}
    return Statement(
        update(job)
        .where(
            job.c.job_id == param("job_id"),
            job.c.attempts == param("n"),
            job.c.state.in_(_sources(event)),
        )
        .values(values),
        unique_rows=True,
    )


_END_JOB: Final = {
    event: _end_job(event)
    for event in (
        JobEvent.SUCCEEDED,
        JobEvent.FAILED,
        JobEvent.CANCELLED,
        JobEvent.REQUEUED,
        JobEvent.RETURNED,
    )
}
_CANCEL_QUEUED = Statement(
    update(job)
    .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
    .values(
        state=literal(target(JobEvent.CANCELLED)),
        ended_ms=param("at_ms"),
        ready_class=None,
        hold=0,
        reason_code=param("code"),
        reason=param("sentence"),
    )
    .returning(*(job.c[name] for name in CancelledJob._fields))
)


def lease(tx: Transaction, placed: Sequence[Placement], *, at_ms: int) -> list[LeasedJob]:
    """Lease each job to the machine chosen for it, as a new attempt. Return the leased jobs.

    Jobs that are no longer ready (cancelled, leased, held) are not leased, so a choice that was
    made from outdated data does no harm.
    """
    chosen = {each.job_id: each for each in placed}
    leased = [LeasedJob(*row) for row in _LEASE.run(tx, job_ids=list(chosen), code="", sentence="")]
    _add_attempts(tx, leased, chosen, at_ms)
    count_transitions(tx, ((each.command_id, JobState.QUEUED, JobState.LEASED) for each in leased))
    return leased


def insert_leased(
    tx: Transaction, new: Sequence[jobs.NewJob], placed: Mapping[int, Placement], *, at_ms: int
) -> list[LeasedJob]:
    """Insert new ready jobs, each leased at once to the machine chosen for it (by job id).

    The rows are as if the jobs had been inserted and leased one after the other, but half as many
    pages and indexes are changed.
    """
    state = target(JobEvent.LEASED)
    jobs.add_uncounted(
        tx, [each._replace(state=state.value, attempts=1, ready_class=None) for each in new]
    )
    leased = [_as_leased(each) for each in new]
    _add_attempts(tx, leased, placed, at_ms)
    for each in new:
        tx.job_count_changes[each.command_id, state] += 1
    return leased


def _as_leased(new: jobs.NewJob) -> LeasedJob:
    return LeasedJob(
        new.job_id,
        1,
        new.class_id,
        new.command_id,
        new.batch_id,
        new.priority,
        new.subject,
        new.losses,
        new.arguments,
        new.failures,
        new.submitted_ms,
    )


def _add_attempts(
    tx: Transaction, leased: Sequence[LeasedJob], placed: Mapping[int, Placement], at_ms: int
) -> None:
    _INSERT_ATTEMPT.run_many(
        tx, [placed[each.job_id]._asdict() | {"n": each.n, "leased_ms": at_ms} for each in leased]
    )


def start(tx: Transaction, starts: Sequence[AttemptStart]) -> None:
    """Record that attempts have started.

    Raises AssertionError if an attempt is not the last one of a leased job.
    """
    rows = [each._asdict() for each in starts]
    changed = _START_JOB.run_many(tx, rows)
    assert changed == len(starts), f"{changed} of {len(starts)} jobs were leased for these attempts"
    _START_ATTEMPT.run_many(tx, rows)
    count_transitions(tx, ((each.command_id, JobState.LEASED, JobState.RUNNING) for each in starts))


def set_paused(tx: Transaction, paused: Mapping[tuple[int, int], bool]) -> None:
    """Store for each live attempt (job id, attempt number) whether a user has paused it."""
    rows = [{"job_id": key[0], "n": key[1], "paused": int(on)} for key, on in paused.items()]
    _SET_PAUSED.run_many(tx, rows)


def end(tx: Transaction, ends: Sequence[AttemptEnd], *, at_ms: int) -> None:
    """End live attempts and change their jobs' state.

    Raises AssertionError if an attempt is not live.
    """
    rows = [
        each._asdict() | {"at_ms": at_ms if each.ended_ms is None else each.ended_ms}
        for each in ends
    ]
    changed = _END_ATTEMPT.run_many(tx, rows)
    assert changed == len(ends), f"{changed} of {len(ends)} attempts were live"
    by_event: dict[JobEvent, list[dict[str, object]]] = {}
    for row in rows:
        by_event.setdefault(row["event"], []).append(row)
    for event, some in by_event.items():
        changed = _END_JOB[event].run_many(tx, some)
        assert changed == len(some), f"{changed} of {len(some)} jobs could become {event}"
    count_transitions(
        tx, ((each.command_id, JobState(each.old_state), target(each.event)) for each in ends)
    )
    count_ended(tx, ((each.batch_id, target(each.event)) for each in ends))
    outputs.add(
        tx,
        [
            (each.job_id, each.n, each.command_id, each.output, row["at_ms"], each.output_data)
            for each, row in zip(ends, rows, strict=True)
            if each.output
        ],
    )


def cancel_queued(
    tx: Transaction, job_ids: Sequence[int], *, code: str, sentence: str, at_ms: int
) -> list[CancelledJob]:
    """Cancel the given jobs, except those that are not queued; return the cancelled jobs."""
    rows = _CANCEL_QUEUED.run(tx, job_ids=list(job_ids), code=code, sentence=sentence, at_ms=at_ms)
    cancelled = [CancelledJob(*row) for row in rows]
    count_transitions(
        tx, ((each.command_id, JobState.QUEUED, JobState.CANCELLED) for each in cancelled)
    )
    count_ended(tx, ((each.batch_id, JobState.CANCELLED) for each in cancelled))
    return cancelled


def count_transitions(
    tx: Transaction, transitions: Iterable[tuple[int, JobState, JobState]]
) -> None:
    """Add state transitions, each (command id, old state, new state), to the counter changes."""
    changes = tx.job_count_changes
    for command_id, old, new in transitions:
        changes[command_id, old] -= 1
        changes[command_id, new] += 1


def count_ended(tx: Transaction, ended: Iterable[tuple[int | None, JobState]]) -> None:
    """Add ended jobs of batches, each (batch id, final state), to the counter changes."""
    for batch_id, state in ended:
        if batch_id is not None and state in FINAL:
            tx.batch_count_changes[batch_id, state] += 1
