"""View of the queue for the placement checker: rows of the store, and what the plan says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from mythjobs.model.life import FINAL
from mythjobs.store.open import Store
from tests.simulation.plan import Plan
from tests.simulation.program import Key

_CODE: Final = re.compile(r'"exited".*"code": (-?\d+)')
# Stands for the exit code of an attempt that a limit ended.
BREACHED: Final = -1
_NO_DEADLINE_MS: Final = 2**53


class QueuedJob(NamedTuple):
    """A job. pin, labels, semaphores and limits are its own, without those of its command.

    revision: of its command. batch_jobs: number of jobs of its batch once that is complete.
    """

    job_id: int
    class_id: int
    command: str
    state: str
    priority: int
    subject: str | None
    deadline_ms: int | None
    hold: int
    not_before_ms: int | None
    unmet: int
    reason_code: str
    is_enabled: int
    put_off_ms: int
    submitter: str
    key: str | None
    pin: str
    revision: int
    ended_ms: int | None
    batch_id: int | None
    batch_jobs: int | None
    rerun_of: int | None
    labels: Sequence[str] = ()
    semaphores: Mapping[str, int] = {}
    limits: Mapping[str, str] = {}

    @property
    def is_queued(self) -> bool:
        return self.state == "queued"

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def is_waiting(self) -> bool:
        """Whether the job lacks nothing but a machine, and its subject may be in use."""
        return self.is_queued and not self.hold and self.not_before_ms is None and not self.unmet

    @property
    def order(self) -> tuple[int, int, int]:
        return -self.priority, self.deadline_ms or _NO_DEADLINE_MS, self.job_id


class QueueView:
    """State of the store after a commit; cheaper than one query for each check."""

    def __init__(self, plan: Plan) -> None:
        submits = [each.arguments for each in plan.work if each.action == "submit"]
        self._submits = {f"key {number}": each for number, each in enumerate(submits)}
        self._submit_of: dict[int, Mapping[str, Any]] = {}  # by job id
        self.jobs: dict[int, QueuedJob] = {}
        self.exit_codes: dict[Key, int] = {}
        self.leased_ms: dict[Key, int] = {}
        self.started: set[Key] = set()
        # Least duration of the programs of a command.
        self.least_seconds: defaultdict[str, float] = defaultdict(lambda: 0.0)
        submits = [*submits, *(each.arguments for each in plan.work if each.action == "schedule")]
        batches = [each.arguments for each in plan.work if each.action == "batch"]
        rows = [(each["command"], row) for each in batches for row in each["rows"]]
        for command, arguments in (
            *((each["command"], each.get("arguments", {})) for each in submits), *rows
        ):  # fmt: skip
            seconds = float(arguments.get("seconds", 0))
            known = self.least_seconds.get(command, seconds)
            self.least_seconds[command] = min(known, seconds)
        self._overrides: list[tuple[str, str | None, str, int]] = []
        # Machines whose hours were ever overridden. By their own clocks that may not have ended.
        self.overridden: set[str] = set()

    def reset(self) -> None:
        """Forget all jobs and attempts: the store was restored."""
        for each in (self._submit_of, self.jobs, self.exit_codes, self.leased_ms, self.started):
            each.clear()

    def read(self, store: Store) -> None:
        with store.snapshot() as tx:
            cursor: Any = tx.cursor
            cursor.execute(_READ_JOBS)
            self.jobs = {row[0]: self._job(row) for row in cursor.fetchall()}
            cursor.execute(_READ_OVERRIDES)
            self._overrides = cursor.fetchall()
            self.overridden.update(each[0] for each in self._overrides)
            cursor.execute(_READ_ATTEMPTS)
            for job_id, n, leased_ms, started_ms, outcome in cursor.fetchall():
                self.leased_ms[job_id, n] = leased_ms
                if started_ms is not None:
                    self.started.add((job_id, n))
                if outcome and (found := _CODE.search(outcome)):
                    self.exit_codes[job_id, n] = int(found[1])
                elif outcome and '"breached"' in outcome:
                    self.exit_codes[job_id, n] = BREACHED
                else:
                    self.exit_codes.pop((job_id, n), None)

    def _job(self, row: Sequence[Any]) -> QueuedJob:
        job = QueuedJob(*row)
        submit = self._submit_of.get(job.job_id)
        if submit is None:
            copied = self._submit_of.get(job.rerun_of or 0, {})
            submit = self._submits.get(job.key or "", copied)
            self._submit_of[job.job_id] = submit
        return job._replace(
            pin=submit.get("machine", job.pin),
            labels=submit.get("labels", ()),
            semaphores=submit.get("semaphores", {}),
            limits=submit.get("limits", {}),
        )

    def overrides(self, machine: str, command: str, wall_ms: int) -> tuple[tuple[str, int], ...]:
        """Return the overrides of a machine that apply to a command and have not ended."""
        return tuple(
            (kind, until_ms)
            for name, only, kind, until_ms in self._overrides
            if name == machine and only in (None, command) and until_ms > wall_ms
        )


_READ_JOBS: Final = """
SELECT j.job_id, j.class_id, c.name, j.state, j.priority, j.subject, j.deadline_ms, j.hold,
       j.not_before_ms, j.unmet, j.reason_code, c.enabled, coalesce(c.put_off_ms, 0),
       k.submitter, j.key, k.pin, r.number, j.ended_ms, j.batch_id,
       CASE WHEN b.opened_ms IS NOT NULL THEN b.jobs END, j.rerun_of
FROM job j JOIN command c ON c.command_id = j.command_id
JOIN job_class k ON k.class_id = j.class_id
JOIN command_revision r ON r.revision_id = k.revision_id
LEFT JOIN batch b ON b.batch_id = j.batch_id
"""
# Results that arrived too late count for nothing: the job was leased again before.
_READ_ATTEMPTS: Final = """
SELECT job_id, n, leased_ms, started_ms,
       CASE WHEN evidence LIKE 'observed%' THEN outcome END
FROM attempt
"""
_READ_OVERRIDES: Final = """
SELECT m.name, c.name, o.kind, o.until_ms
FROM window_override o JOIN machine m ON m.machine_id = o.machine_id
LEFT JOIN command c ON c.command_id = o.command_id
"""
