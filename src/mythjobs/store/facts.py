"""What the rules of eligibility ask of one job."""

from __future__ import annotations

from sqlalchemy import select

from mythjobs.scheduler.eligibility import JobFacts
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, given

job = t.job

_FACTS = Statement(
    select(
        job.c.state,
        job.c.hold,
        job.c.not_before_ms,
        job.c.unmet,
        job.c.ready_class,
        job.c.subject,
        job.c.batch_id,
        t.batch.c.opened_ms,
        job.c.reason_code,
        job.c.reason,
        t.command.c.name,
    )
    .select_from(
        job.outerjoin(t.batch, t.batch.c.batch_id == job.c.batch_id).outerjoin(
            t.command, t.command.c.command_id == job.c.command_id
        )
    )
    .where(job.c.job_id == given("which"))
)


def job_facts(tx: Transaction, job_id: int) -> JobFacts | None:
    """None if there is no such job, or its batch is not whole yet."""
    rows = _FACTS.run(tx, which=job_id)
    if not rows:
        return None
    (state, hold, not_before, unmet, ready, subject, batch, opened, code, why, name) = rows[0]
    if batch is not None and opened is None:
        return None
    return JobFacts(
        state,
        name or "",
        hold,
        not_before,
        unmet,
        ready is not None,
        subject,
        code,
        why,
    )
