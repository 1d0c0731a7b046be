"""What becomes of an attempt that is over already, when its machine is heard of after all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import and_, select, update

from mythjobs.model.life import JobEvent, JobState, sources, target
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, given, one_of, word
from mythjobs.store.writes.job_state import End, count_over, move

job, attempt = t.job, t.attempt

# How it is known that an attempt is over: begins the evidence of those nobody saw end.
PRESUMED: Final = "presumed"
# The evidence of a presumed end whose real one was told later.
ADOPTED: Final = "observed late"
TOO_LATE: Final = "presumed, and told too late"


class Old(NamedTuple):
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
    def presumed(self) -> bool:
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
        one_of(attempt.c.job_id, "job_ids"),
        attempt.c.over_ms.is_not(None),
        job.c.job_id == attempt.c.job_id,
    )
)
_RETOLD = Statement(
    update(attempt)
    .where(
        attempt.c.job_id == given("job"),
        attempt.c.n == given("n"),
        attempt.c.over_ms.is_not(None),
    )
    .values(
        started_ms=given("begun"),
        outcome=given("how"),
        usage=given("used"),
        output=given("wrote"),
        evidence=given("known"),
    )
)


def _adopt(event: JobEvent) -> Statement:
    return Statement(
        update(job)
        .where(
            job.c.job_id == given("job"),
            job.c.attempts == given("n"),
            and_(
                job.c.state == word(JobState.QUEUED),
                job.c.state.in_([word(each) for each in sources(event)]),
            ),
        )
        .values(
            state=word(target(event)),
            ended_ms=given("at"),
            ready_class=None,
            hold=0,
            not_before_ms=None,
            reason_code=given("code"),
            reason=given("sentence"),
            losses=0,
        )
    )


_ADOPT: Final = {event: _adopt(event) for event in (JobEvent.SUCCEEDED, JobEvent.FAILED)}


def old(tx: Transaction, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Old]:
    """Those of these attempts that are over."""
    wanted = set(keys)
    rows = [Old(*row) for row in _OLD.run(tx, job_ids=sorted({job_id for job_id, _ in wanted}))]
    return {(each.job_id, each.n): each for each in rows if (each.job_id, each.n) in wanted}


def retell(tx: Transaction, end: End) -> None:
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


def adopt(tx: Transaction, end: End, *, at_ms: int) -> None:
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
    retell(tx, end)
    move(tx, [(end.command_id, JobState.QUEUED, target(end.event))])
    count_over(tx, [(end.batch_id, target(end.event))])
