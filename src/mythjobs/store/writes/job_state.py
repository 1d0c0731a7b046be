"""The one writer of job.state; each statement tests the old state, by the table of a job's life."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Update, insert, update

from mythjobs.model.life import FINAL, JobEvent, JobState, sources, target
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction

job, attempt = t.job, t.attempt


class LeasedJob(NamedTuple):
    """A job just promised: attempt `n` of it, and what its run needs."""

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


class Placement(NamedTuple):
    job_id: int
    machine_id: int
    boot_id: str
    silence: str
    lease_s: float | None = None  # None: for ever


class AttemptEnd(NamedTuple):
    """An attempt that is over. `was` is the job's state in the store as this turn found it."""

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
    failed: int = 0  # 1: it counts against the job's [retry]
    not_before_ms: int | None = None


def _in(event: JobEvent) -> list[object]:
    return [literal(state) for state in sources(event)]


# Attempts are counted on the job and never counted back, so a higher number always fences
# off a lower one.
_LEASE = Statement(
    update(job)
    .where(
        in_list(job.c.job_id, "job_ids"),
        job.c.state.in_(_in(JobEvent.LEASED)),
        job.c.ready_class.is_not(None),
    )
    .values(
        state=literal(target(JobEvent.LEASED)),
        attempts=job.c.attempts + 1,
        ready_class=None,
        reason_code=param("code"),
        reason=param("sentence"),
    )
    .returning(
        job.c.job_id,
        job.c.attempts,
        job.c.class_id,
        job.c.command_id,
        job.c.batch_id,
        job.c.priority,
        job.c.subject,
        job.c.losses,
        job.c.arguments,
        job.c.failures,
    )
)
_OPEN = Statement(
    insert(attempt),
    ("job_id", "n", "machine_id", "boot_id", "silence", "lease_s", "leased_ms"),
)
_START = Statement(
    update(job)
    .where(
        job.c.job_id == param("job"),
        job.c.attempts == param("n"),
        job.c.state.in_(_in(JobEvent.STARTED)),
    )
    .values(state=literal(target(JobEvent.STARTED))),
    unique_rows=True,
)
_STARTED = Statement(
    update(attempt)
    .where(
        attempt.c.job_id == param("job"),
        attempt.c.n == param("n"),
        attempt.c.over_ms.is_(None),
    )
    .values(started_ms=param("at")),
    unique_rows=True,
)
_CLOSE = Statement(
    update(attempt)
    .where(
        attempt.c.job_id == param("job"),
        attempt.c.n == param("n"),
        attempt.c.over_ms.is_(None),
    )
    .values(
        started_ms=param("begun"),
        over_ms=param("at"),
        outcome=param("how"),
        usage=param("used"),
        output=param("wrote"),
        evidence=param("known"),
    ),
    unique_rows=True,
)


def _end(event: JobEvent) -> Statement:
    changes = update(job).where(
        job.c.job_id == param("job"),
        job.c.attempts == param("number"),
        job.c.state.in_(_in(event)),
    )
    to = target(event)
    values: dict[str, object] = {
        "state": literal(to),
        "reason_code": param("code"),
        "reason": param("sentence"),
        "losses": param("lost"),
        "failures": job.c.failures + param("failed"),
    }
    if to in FINAL:
        values |= {"ended_ms": param("at"), "ready_class": None}
    else:
        values |= {
            "hold": param("held"),
            "not_before_ms": param("not_before"),
            "progress": None,
        }
    return Statement(changes.values(values), unique_rows=True)


_ENDS: Final = {
    event: _end(event)
    for event in (
        JobEvent.SUCCEEDED,
        JobEvent.FAILED,
        JobEvent.CANCELLED,
        JobEvent.REQUEUED,
        JobEvent.RETURNED,
    )
}


def _cancel() -> Update:
    return (
        update(job)
        .where(in_list(job.c.job_id, "job_ids"), job.c.state == literal(JobState.QUEUED))
        .values(
            state=literal(target(JobEvent.CANCELLED)),
            ended_ms=param("at"),
            ready_class=None,
            hold=0,
            reason_code=param("code"),
            reason=param("sentence"),
        )
    )


_CANCEL_QUEUED = Statement(
    _cancel().returning(job.c.job_id, job.c.command_id, job.c.batch_id, job.c.subject)
)


def lease(tx: Transaction, placed: Sequence[Placement], *, at_ms: int) -> list[LeasedJob]:
    """Promises each job to the machine chosen for it.

    A job that is no longer to be had is left out of the answer, so a decision made on an
    old snapshot does no harm.
    """
    ids = [each.job_id for each in placed]
    leased = [LeasedJob(*row) for row in _LEASE.run(tx, job_ids=ids, code="", sentence="")]
    chosen = {each.job_id: each for each in placed}
    _OPEN.run_many(
        tx,
        [
            {
                "job_id": each.job_id,
                "n": each.n,
                "machine_id": chosen[each.job_id].machine_id,
                "boot_id": chosen[each.job_id].boot_id,
                "silence": chosen[each.job_id].silence,
                "lease_s": chosen[each.job_id].lease_s,
                "leased_ms": at_ms,
            }
            for each in leased
        ],
    )
    count_transitions(tx, ((each.command_id, JobState.QUEUED, JobState.LEASED) for each in leased))
    return leased


class AttemptStart(NamedTuple):
    job_id: int
    n: int
    command_id: int
    at_ms: int


def start(tx: Transaction, starts: Sequence[AttemptStart]) -> None:
    """The processes exist. Raises AssertionError if one is not the leased last attempt."""
    rows = [{"job": each.job_id, "n": each.n, "at": each.at_ms} for each in starts]
    moved = _START.run_many(tx, rows)
    assert moved == len(starts), f"{moved} of {len(starts)} jobs were there to be started"
    _STARTED.run_many(tx, rows)
    count_transitions(tx, ((each.command_id, JobState.LEASED, JobState.RUNNING) for each in starts))


def end(tx: Transaction, ends: Sequence[AttemptEnd], *, at_ms: int) -> None:
    """Closes live attempts and moves their jobs. Raises AssertionError if one was not live."""
    closed = _CLOSE.run_many(
        tx,
        [
            {
                "job": each.job_id,
                "n": each.n,
                "begun": each.started_ms,
                "at": at_ms,
                "how": each.outcome,
                "used": each.usage,
                "wrote": each.output,
                "known": each.evidence,
            }
            for each in ends
        ],
    )
    assert closed == len(ends), f"{closed} of {len(ends)} attempts were live"
    by_event: dict[JobEvent, list[dict[str, object]]] = {}
    for each in ends:
        by_event.setdefault(each.event, []).append(
            {
                "job": each.job_id,
                "number": each.n,
                "at": at_ms,
                "code": each.reason_code,
                "sentence": each.reason,
                "lost": each.losses,
                "held": each.hold,
                "failed": each.failed,
                "not_before": each.not_before_ms,
            }
        )
    for event, rows in by_event.items():
        moved = _ENDS[event].run_many(tx, rows)
        assert moved == len(rows), f"{moved} of {len(rows)} jobs were there to be {event}"
    count_transitions(
        tx, ((each.command_id, JobState(each.old_state), target(each.event)) for each in ends)
    )
    count_ended(tx, ((each.batch_id, target(each.event)) for each in ends))


class CancelledJob(NamedTuple):
    job_id: int
    command_id: int
    batch_id: int | None
    subject: str | None


def cancel_queued(
    tx: Transaction, job_ids: Sequence[int], *, code: str, sentence: str, at_ms: int
) -> list[CancelledJob]:
    """Cancels those of the jobs that are queued, and answers which."""
    rows = _CANCEL_QUEUED.run(tx, job_ids=list(job_ids), code=code, sentence=sentence, at=at_ms)
    done = [CancelledJob(*row) for row in rows]
    count_transitions(tx, ((each.command_id, JobState.QUEUED, JobState.CANCELLED) for each in done))
    count_ended(tx, ((each.batch_id, JobState.CANCELLED) for each in done))
    return done


def count_transitions(tx: Transaction, moves: Iterable[tuple[int, JobState, JobState]]) -> None:
    tally = tx.job_count_changes
    for command_id, was, to in moves:
        tally[command_id, was] -= 1
        tally[command_id, to] += 1


def count_ended(tx: Transaction, moves: Iterable[tuple[int | None, JobState]]) -> None:
    for batch_id, to in moves:
        if batch_id is not None and to in FINAL:
            tx.batch_count_changes[batch_id, to] += 1
