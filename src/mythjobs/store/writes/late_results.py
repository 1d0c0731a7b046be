"""What becomes of an attempt that is over already, when its machine is heard of after all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import and_, select, update

from mythjobs.model.life import JobEvent, JobState, sources, target
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, literal, param
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.job_state import AttemptEnd, count_ended, count_transitions

job, attempt = t.job, t.attempt

# How it is known that an attempt is over: begins the evidence of those nobody saw end.
PRESUMED: Final = "presumed"
# The evidence of a presumed end whose real one was told later.
ACCEPTED_LATE: Final = "observed late"
TOO_LATE: Final = "presumed, and told too late"


class EndedAttempt(NamedTuple):
    """An attempt that is over, and where its job stands now."""

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

    @property
    def is_presumed(self) -> bool:
        return self.evidence.startswith(PRESUMED) and self.evidence != TOO_LATE


_OLD = Statement(
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
    ).where(
        in_list(attempt.c.job_id, "job_ids"),
        attempt.c.over_ms.is_not(None),
        job.c.job_id == attempt.c.job_id,
    )
)
_RETOLD = Statement(
    update(attempt)
    .where(
        attempt.c.job_id == param("job"),
        attempt.c.n == param("n"),
        attempt.c.over_ms.is_not(None),
    )
    .values(
        started_ms=param("begun"),
        outcome=param("how"),
        usage=param("used"),
        output=param("wrote"),
        evidence=param("known"),
    )
)


def _adopt(event: JobEvent) -> Statement:
    return Statement(
        update(job)
        .where(
            job.c.job_id == param("job"),
            job.c.attempts == param("n"),
            and_(
                job.c.state == literal(JobState.QUEUED),
                job.c.state.in_([literal(each) for each in sources(event)]),
            ),
        )
        .values(
            state=literal(target(event)),
            ended_ms=param("at"),
            ready_class=None,
            hold=0,
            not_before_ms=None,
            reason_code=param("code"),
            reason=param("sentence"),
            losses=0,
        )
    )


_ADOPT: Final = {event: _adopt(event) for event in (JobEvent.SUCCEEDED, JobEvent.FAILED)}


def find_ended_attempts(
    tx: Transaction, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], EndedAttempt]:
    """Those of these attempts that are over."""
    wanted = set(keys)
    rows = [
        EndedAttempt(*row) for row in _OLD.run(tx, job_ids=sorted({job_id for job_id, _ in wanted}))
    ]
    return {(each.job_id, each.n): each for each in rows if (each.job_id, each.n) in wanted}


def record_late_result(tx: Transaction, end: AttemptEnd) -> None:
    """What its machine tells now stands in place of what was presumed."""
    _RETOLD.run(
        tx,
        job=end.job_id,
        n=end.n,
        begun=end.started_ms,
        how=end.outcome,
        used=end.usage,
        wrote=end.output,
        known=end.evidence,
    )


def accept_late_result(tx: Transaction, end: AttemptEnd, *, at_ms: int) -> None:
    """A queued job that nobody began again takes this end. Raises AssertionError otherwise."""
    moved = _ADOPT[end.event].run_many(
        tx,
        [
            {
                "job": end.job_id,
                "n": end.n,
                "at": at_ms,
                "code": end.reason_code,
                "sentence": end.reason,
            }
        ],
    )
    assert moved == 1, f"job {end.job_id} was not there to take its late end"
    record_late_result(tx, end)
    count_transitions(tx, [(end.command_id, JobState.QUEUED, target(end.event))])
    count_ended(tx, [(end.batch_id, target(end.event))])
