"""Whether a store keeps its promises: what must be true after every commit, each with its name.

A store alone can show these of the invariants I1 to I22: once (I2), one live (I3), rising (I5),
fenced (I6), none lost (I7), truly over (I9), cancel holds (I13), log (I16), bounded (I17, as:
nothing is left behind) and honest (I21). READY, SUBJECT and COUNT are promises of the queue itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.scheduler.blocked import JobFacts, find_job_wait
from mythjobs.store import tables as t
from mythjobs.store.invariants import job_rules, queue_rules
from mythjobs.store.invariants.rule import Rule, Violation
from mythjobs.store.queries import job_facts
from mythjobs.store.statement import Statement, in_list, literal
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.dependencies import UNMET

__all__ = ["Violation", "check"]

job, dependency = t.job, t.dependency

_RULES: Final[tuple[Rule, ...]] = (*job_rules.RULES, *queue_rules.RULES)
_SLICE_JOBS: Final = 5000

# Whom a change of a job concerns too: who waits for it, and who waits for its subject.
_WAITING = Statement(
    select(dependency.c.job_id).where(
        in_list(dependency.c.on_job_id, "job_ids"), dependency.c.met == UNMET
    )
)
_SIBLINGS = Statement(
    select(job.c.job_id).where(
        job.c.subject.is_not(None),
        job.c.state == literal(JobState.QUEUED),
        job.c.subject.in_(select(job.c.subject).where(in_list(job.c.job_id, "job_ids"))),
    )
)


def check(tx: Transaction, jobs: Sequence[int] | None = None) -> list[Violation]:
    """Everything that is not as promised; an empty list is what there should be.

    Of a committed state: in the middle of a turn the tallies are not written yet.

    With `jobs`, only of these and of those that wait for them or for their subjects: cheap
    enough after each step of a simulation. What can only be seen by counting all jobs (tallies,
    the next number) is then left out.
    """
    ids = None if jobs is None else _concerned(tx, jobs)
    found = [each for rule in _RULES for each in rule.broken(tx, ids)]
    if ids is not None:
        return found + _unready(job_facts.read_queued(tx, ids))
    return found + queue_rules.tallies(tx) + _all_unready(tx)


def _concerned(tx: Transaction, jobs: Sequence[int]) -> list[int]:
    ids = list(jobs)
    waiting = [row[0] for row in _WAITING.run(tx, job_ids=ids)]
    siblings = [row[0] for row in _SIBLINGS.run(tx, job_ids=ids)]
    return sorted({*ids, *waiting, *siblings})


def _all_unready(tx: Transaction) -> list[Violation]:
    found: list[Violation] = []
    above = 0
    while some := job_facts.read_queued_after(tx, above, _SLICE_JOBS):
        found += _unready(some)
        above = max(some)
    return found


def _unready(queued: dict[int, JobFacts]) -> list[Violation]:
    """Where `ready_class` and the rules that explain a wait disagree about the job itself."""
    found = []
    for job_id, each in queued.items():
        hindrance = find_job_wait(each._replace(subject=None), now_ms=0)
        if each.ready and hindrance is not None:
            said = f"job {job_id} is ready, but {hindrance[1]}"
        elif not each.ready and hindrance is None and each.subject is None:
            said = f"job {job_id} is not ready, but nothing hinders it"
        else:
            continue
        found.append(Violation("READY", job_id, said))
    return found
