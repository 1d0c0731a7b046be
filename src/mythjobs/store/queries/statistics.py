"""Statistics of a command over its last ended jobs."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.model.limits import Usage, usage_from_json
from mythjobs.protocol.responses import RecentJobs, Statistics
from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

job, attempt = t.job, t.attempt

MAX_JOBS: Final = 1000
# Number of the last ad-hoc runs whose programs and run times are compared. Their arguments include
# an environment, of a few KiB.
MAX_RUNS: Final = 100
# Number of the last jobs of each command in a list of all commands.
MAX_RECENT: Final = 50

_READ_LAST = Statement(
    select(job.c.job_id, job.c.state)
    .where(job.c.command_id == param("command_id"), job.c.ended_ms.is_not(None))
    .order_by(job.c.ended_ms.desc())
    .limit(param("limit"))
)
_READ_RUNS = Statement(
    select(job.c.state, job.c.arguments, attempt.c.usage)
    .join(attempt, (attempt.c.job_id == job.c.job_id) & (attempt.c.n == job.c.attempts))
    .where(job.c.command_id == param("command_id"), job.c.ended_ms.is_not(None))
    .order_by(job.c.ended_ms.desc())
    .limit(param("limit"))
)
# A job that was cancelled before its first attempt has none.
_READ_RECENT = Statement(
    select(job.c.state, attempt.c.usage)
    .outerjoin(attempt, (attempt.c.job_id == job.c.job_id) & (attempt.c.n == job.c.attempts))
    .where(job.c.command_id == param("command_id"), job.c.ended_ms.is_not(None))
    .order_by(job.c.ended_ms.desc())
    .limit(param("limit"))
)
_READ_USAGE = Statement(
    select(attempt.c.usage).where(
        attempt.c.job_id == param("job_id"), attempt.c.started_ms.is_not(None)
    )
)


def compute_statistics(tx: Transaction, command_id: int, *, max_jobs: int = MAX_JOBS) -> Statistics:
    last = _READ_LAST.run(tx, command_id=command_id, limit=max_jobs)
    usages = [
        usage_from_json(json.loads(text))
        for job_id, _ in last
        for (text,) in _READ_USAGE.run(tx, job_id=job_id)
        if text
    ]
    counts = Counter(JobState(state) for _, state in last)
    return _summarize(counts, usages)


def summarize_recent(
    tx: Transaction, command_id: int, *, is_run: bool, max_jobs: int = MAX_RECENT
) -> RecentJobs:
    """Return how the last ended jobs of a command went. is_run: it is the command `run`.

    Reads an index from its end, so the cost depends on `max_jobs` only.
    """
    rows = _READ_RECENT.run(tx, command_id=command_id, limit=max_jobs)
    counts = Counter(JobState(state) for state, _ in rows)
    usages = [
        usage_from_json(json.loads(text))
        for state, text in rows
        if text and state == JobState.SUCCEEDED and not is_run
    ]
    times = [each.active_s for each in usages]
    return RecentJobs(
        jobs=len(rows),
        succeeded=counts[JobState.SUCCEEDED],
        failed=counts[JobState.FAILED],
        cancelled=counts[JobState.CANCELLED],
        success_rate=_compute_success_rate(counts),
        usual_s=statistics.median(times) if times else None,
    )


def read_run_times(tx: Transaction, command_id: int) -> dict[tuple[str, ...], float]:
    """Return for each distinct argv the median run time of its successful runs in seconds,
    without frozen time. Only the last MAX_RUNS ad-hoc runs count.

    command_id: the command `run`.
    """
    times: dict[tuple[str, ...], list[float]] = {}
    for state, arguments, text in _READ_RUNS.run(tx, command_id=command_id, limit=MAX_RUNS):
        if state != JobState.SUCCEEDED:
            continue
        usage = usage_from_json(json.loads(text or "{}"))
        argv = tuple(json.loads(arguments).get("argv") or ())
        times.setdefault(argv, []).append(usage.active_s)
    return {argv: statistics.median(each) for argv, each in times.items()}


def _compute_success_rate(counts: Mapping[JobState, int]) -> float | None:
    """Return the share of jobs that succeeded, without cancelled ones, which say nothing about
    their command; None if there are no others."""
    good, bad = counts[JobState.SUCCEEDED], counts[JobState.FAILED]
    return good / (good + bad) if good + bad else None


def _summarize(counts: Mapping[JobState, int], usages: Sequence[Usage]) -> Statistics:
    walls = [each.wall_s for each in usages]
    cpus = [each.cpu_s for each in usages]
    return Statistics(
        jobs=sum(counts.values()),
        runs=len(usages),
        succeeded=counts[JobState.SUCCEEDED],
        failed=counts[JobState.FAILED],
        cancelled=counts[JobState.CANCELLED],
        success_rate=_compute_success_rate(counts),
        median_s=statistics.median(walls) if walls else None,
        p90_s=compute_percentile(walls, 90) if walls else None,
        cpu_median_s=statistics.median(cpus) if cpus else None,
        cpu_total_s=sum(cpus),
        read_bytes=sum(each.read_bytes for each in usages),
        written_bytes=sum(each.written_bytes for each in usages),
        peak_bytes=max((each.peak_bytes for each in usages), default=0),
    )


def compute_percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile: the smallest value that at least `percent` % of values do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
