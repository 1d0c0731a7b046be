"""What the last runs of a command were like: read by index, bounded however many there were."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.model.limits import Usage, usage_from_json
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

job, attempt = t.job, t.attempt

MOST_JOBS: Final = 1000


class CommandStatistics(NamedTuple):
    """Of the last jobs of a command that are over, at most MOST_JOBS.

    `runs` are their attempts that had a process; durations and CPU are of these, in seconds, None
    without any. `success_rate` counts jobs that succeeded or failed: who was cancelled says
    nothing about the command.
    """

    jobs: int
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    median_s: float | None
    p90_s: float | None
    cpu_median_s: float | None
    cpu_total_s: float
    read_bytes: int
    written_bytes: int
    peak_bytes: int


_LAST = Statement(
    select(job.c.job_id, job.c.state)
    .where(job.c.command_id == param("which"), job.c.ended_ms.is_not(None))
    .order_by(job.c.ended_ms.desc())
    .limit(param("most"))
)
_USED = Statement(
    select(attempt.c.usage).where(
        attempt.c.job_id == param("which"), attempt.c.started_ms.is_not(None)
    )
)


def compute_statistics(
    tx: Transaction, command_id: int, *, most: int = MOST_JOBS
) -> CommandStatistics:
    last = _LAST.run(tx, which=command_id, most=most)
    used = [
        usage_from_json(json.loads(text))
        for job_id, _ in last
        for (text,) in _USED.run(tx, which=job_id)
        if text
    ]
    count = {state: sum(found == state for _, found in last) for state in JobState}
    return _summed(count, used)


def _summed(count: dict[JobState, int], used: Sequence[Usage]) -> CommandStatistics:
    good, bad = count[JobState.SUCCEEDED], count[JobState.FAILED]
    walls = [each.wall_s for each in used]
    cpus = [each.cpu_s for each in used]
    return CommandStatistics(
        jobs=sum(count.values()),
        runs=len(used),
        succeeded=good,
        failed=bad,
        cancelled=count[JobState.CANCELLED],
        success_rate=good / (good + bad) if good + bad else None,
        median_s=statistics.median(walls) if walls else None,
        p90_s=compute_percentile(walls, 90) if walls else None,
        cpu_median_s=statistics.median(cpus) if cpus else None,
        cpu_total_s=sum(cpus),
        read_bytes=sum(each.read_bytes for each in used),
        written_bytes=sum(each.written_bytes for each in used),
        peak_bytes=max((each.peak_bytes for each in used), default=0),
    )


def compute_percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least this share of all do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
