"""Store check: finds violations of the invariants that hold after every commit.

docs/store.md lists the invariants. Of I1 to I22, I2, I3, I5, I6, I7, I9, I13, I15, I16, I17 and I21
can be checked from a store alone; READY, SUBJECT and COUNT concern the store's own derived columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.scheduler.blocked import JobFacts, find_job_wait
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal
from mythjobs.store.invariants import job_rules, queue_rules
from mythjobs.store.invariants.rule import InvariantRule, Violation
from mythjobs.store.queries import job_facts
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.dependencies import UNMET

__all__ = ["Violation", "check"]

job, dependency = t.job, t.dependency

_RULES: Final[tuple[InvariantRule, ...]] = (*job_rules.RULES, *queue_rules.RULES)
_SLICE_JOBS: Final = 5000

# Find the other jobs that a change of a job affects: its dependents and, with _FIND_SIBLINGS, the
# queued jobs about its subject.
_FIND_DEPENDENTS = Statement(
    select(dependency.c.job_id).where(
        in_list(dependency.c.on_job_id, "job_ids"), dependency.c.met == UNMET
    )
)
_FIND_SIBLINGS = Statement(
    select(job.c.job_id).where(
        job.c.subject.is_not(None),
        job.c.state == literal(JobState.QUEUED),
        job.c.subject.in_(select(job.c.subject).where(in_list(job.c.job_id, "job_ids"))),
    )
)


def check(tx: Transaction, jobs: Sequence[int] | None = None) -> list[Violation]:
    """Return all violations of invariants in a committed store.

    Before the commit a transaction has not written its counters yet, so they appear to be wrong.
    jobs: check only these jobs, their dependents and the jobs about their subjects, without the
    counters. This is fast enough to run after each step of a simulation.
    """
    ids = None if jobs is None else _add_affected(tx, jobs)
    found = [each for rule in _RULES for each in rule.check(tx, ids)]
    if ids is not None:
        return found + _check_readiness(job_facts.read_queued(tx, ids))
    found += queue_rules.check_counters(tx) + queue_rules.check_output_totals(tx)
    return found + _check_all_readiness(tx)


def _add_affected(tx: Transaction, jobs: Sequence[int]) -> list[int]:
    ids = list(jobs)
    dependents = [row[0] for row in _FIND_DEPENDENTS.run(tx, job_ids=ids)]
    siblings = [row[0] for row in _FIND_SIBLINGS.run(tx, job_ids=ids)]
    return sorted({*ids, *dependents, *siblings})


def _check_all_readiness(tx: Transaction) -> list[Violation]:
    found: list[Violation] = []
    last_id = 0
    while queued := job_facts.read_queued_after(tx, last_id, _SLICE_JOBS):
        found += _check_readiness(queued)
        last_id = max(queued)
    return found


def _check_readiness(queued: dict[int, JobFacts]) -> list[Violation]:
    """Return a violation for each queued job whose `ready_class` contradicts its reason to wait."""
    found = []
    for job_id, each in queued.items():
        wait = find_job_wait(each._replace(subject=None), now_ms=0)
        if each.ready and wait is not None:
            sentence = f"job {job_id} is ready, but {wait[1]}"
        elif not each.ready and wait is None and each.subject is None:
            sentence = f"job {job_id} is not ready, but there is no reason to wait"
        else:
            continue
        found.append(Violation("READY", job_id, sentence))
    return found
