"""Late results: real outcomes of attempts, reported after the master had presumed their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import func, select, update

from mythjobs.model.life import JobEvent, JobState, sources, target
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import outputs
from mythjobs.store.writes.job_state import AttemptEnd, count_ended, count_transitions

job, attempt = t.job, t.attempt

# Prefix of the evidence of an attempt's end that was presumed, not observed.
PRESUMED: Final = "presumed"
# Evidence of an end that the master presumed and the machine reported later: the report was
# accepted, or rejected.
ACCEPTED_LATE: Final = "observed late"
TOO_LATE: Final = "presumed, and told too late"


class EndedAttempt(NamedTuple):
    """An ended attempt, with the current state of its job."""

    job_id: int
    n: int
    machine_id: int
    evidence: str
    state: str
    last_n: int
    class_id: int
    command_id: int
    batch_id: int | None
    subject: str | None
    stop_requested: str | None
    failures: int
    silence: str
    leased_ms: int

    @property
    def is_unobserved(self) -> bool:
        return self.evidence.startswith(PRESUMED) and self.evidence != TOO_LATE


_READ_ENDED = Statement(
    select(
        attempt.c.job_id,
        attempt.c.n,
        attempt.c.machine_id,
        attempt.c.evidence,
        job.c.state,
        job.c.attempts,
        job.c.class_id,
        job.c.command_id,
        job.c.batch_id,
        job.c.subject,
        job.c.stop_requested,
        job.c.failures,
        attempt.c.silence,
        attempt.c.leased_ms,
    ).where(
        in_list(attempt.c.job_id, "job_ids"),
        attempt.c.over_ms.is_not(None),
        job.c.job_id == attempt.c.job_id,
    )
)
_REPLACE_RESULT = Statement(
    update(attempt)
    .where(
        attempt.c.job_id == param("job_id"),
        attempt.c.n == param("n"),
        attempt.c.over_ms.is_not(None),
    )
    .values(
        started_ms=param("started_ms"),
        over_ms=func.coalesce(param("ended_ms"), attempt.c.over_ms),
        outcome=param("outcome"),
        usage=param("usage"),
        output=param("output"),
        evidence=param("evidence"),
    )
)


def _end_queued(event: JobEvent) -> Statement:
    assert JobState.QUEUED in sources(event)
    return Statement(
        update(job)
        .where(
            job.c.job_id == param("job_id"),
            job.c.attempts == param("n"),
            job.c.state == literal(JobState.QUEUED),
        )
        .values(
            state=literal(target(event)),
            ended_ms=param("at_ms"),
            ready_class=None,
            hold=0,
            not_before_ms=None,
            reason_code=param("reason_code"),
            reason=param("reason"),
            losses=0,
        )
    )


_END_QUEUED: Final = {event: _end_queued(event) for event in (JobEvent.SUCCEEDED, JobEvent.FAILED)}


def find_ended_attempts(
    tx: Transaction, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], EndedAttempt]:
    """Return the attempts among `keys` (job id, attempt number) that have ended."""
    wanted = set(keys)
    rows = _READ_ENDED.run(tx, job_ids=sorted({job_id for job_id, _ in wanted}))
    found = {(row[0], row[1]): EndedAttempt(*row) for row in rows}
    return {key: each for key, each in found.items() if key in wanted}


def record_late_result(tx: Transaction, end: AttemptEnd) -> None:
    """Replace the presumed result of an attempt by the result that its machine reported."""
    _REPLACE_RESULT.run(tx, **end._asdict())
    ended_ms = end.ended_ms or 0
    outputs.add(tx, [(end.job_id, end.n, end.command_id, end.output, ended_ms, end.output_data)])


def accept_late_result(tx: Transaction, end: AttemptEnd, *, at_ms: int) -> None:
    """End a queued job with a late result of its last attempt.

    at_ms: end time if the result has none.
    Raises AssertionError if the job is not queued or has a newer attempt.
    """
    ended_ms = at_ms if end.ended_ms is None else end.ended_ms
    changed = _END_QUEUED[end.event].run_many(tx, [end._asdict() | {"at_ms": ended_ms}])
    assert changed == 1, f"job {end.job_id} is not queued after attempt {end.n}"
    record_late_result(tx, end)
    count_transitions(tx, [(end.command_id, JobState.QUEUED, target(end.event))])
    count_ended(tx, [(end.batch_id, target(end.event))])
