"""Retention checker: judges each deletion of jobs by the rules, as the plan states them.

A deleted job has ended, with the rest of its batch, and no open job depends on it. It is too old,
or its command keeps enough others, or a user asked for its deletion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mythjobs.store.open import Store
from tests.simulation.configuration import Configuration
from tests.simulation.plan import Plan
from tests.simulation.queue_view import QueuedJob
from tests.simulation.simulator import Simulator

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Jobs = Mapping[int, QueuedJob]
Pruned = Sequence[tuple[int, Sequence[str]]]


class RetentionChecker:
    """`check` is called after each commit that wrote something. `removed`: ids of deleted jobs."""

    def __init__(self, sim: Simulator, plan: Plan, configuration: Configuration) -> None:
        self._sim = sim
        self._queue_limits: Mapping[str, Any] = plan.retention or {}
        self._configuration = configuration
        self._before: Jobs = {}
        self.removed: set[int] = set()
        # The latest time that the master's wall clock has shown: it may have been stepped since.
        self._latest_ms = 0

    def on_restore(self) -> None:
        """The store was restored: jobs are gone that nobody has deleted."""
        self._before = {}

    def check(self, store: Store, jobs: Jobs, pruned: Pruned, wall_ms: int) -> None:
        self._latest_ms = max(self._latest_ms, wall_ms)
        gone = self._before.keys() - jobs.keys()
        before, self._before = self._before, jobs
        for job_id in sorted(gone):
            self._check_removal(store, before[job_id], before, jobs, pruned)

    def _check_removal(
        self, store: Store, job: QueuedJob, before: Jobs, after: Jobs, pruned: Pruned
    ) -> None:
        if job.batch_id is not None and job.batch_jobs is None:
            return  # of a batch that was never opened
        self.removed.add(job.job_id)
        self._sim.count("jobs deleted")
        if not job.is_final or job.ended_ms is None:
            self._report(job, f"it is {job.state}")
        elif any(
            each.batch_id == job.batch_id and not each.is_final for each in before.values()
        ) and job.batch_id is not None:  # fmt: skip
            self._report(job, f"batch {job.batch_id} has not ended")
        elif open_jobs := self._find_open_dependents(store, job, after):
            self._report(job, f"job {open_jobs[0]} depends on it")
        elif not self._is_expired(job, after) and not _is_pruned(job, pruned):
            self._report(job, "it is younger than the limits of retention")

    def _report(self, job: QueuedJob, why: str) -> None:
        self._sim.report_violation("RETENTION", f"job {job.job_id} is deleted, but {why}")

    def _find_open_dependents(self, store: Store, job: QueuedJob, after: Jobs) -> list[int]:
        with store.snapshot() as tx:
            tx.cursor.execute(f"SELECT job_id FROM dependency WHERE on_job_id = {job.job_id:d}")
            dependents = [row[0] for row in tx.cursor.fetchall()]
        return [each for each in dependents if each in after and not after[each].is_final]

    def _is_expired(self, job: QueuedJob, after: Jobs) -> bool:
        assert job.ended_ms is not None
        own = self._configuration.current_definition(job.command).get("retention", {})
        limits = {**self._queue_limits, **own}
        if "age" in limits and job.ended_ms < self._latest_ms - _read_age_ms(limits["age"]):
            return True
        left = sum(each.command == job.command and each.is_final for each in after.values())
        return "jobs" in limits and left >= limits["jobs"]


def _is_pruned(job: QueuedJob, pruned: Pruned) -> bool:
    assert job.ended_ms is not None
    return any(
        job.ended_ms < before_ms and (not states or job.state in states)
        for before_ms, states in pruned
    )


def _read_age_ms(age: str) -> int:
    return 1000 * int(age[:-1]) * _UNITS_S[age[-1]]
