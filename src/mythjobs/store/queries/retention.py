"""Queries for retention: find old ended jobs, old output and surplus attempts to delete."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import func, literal_column, or_, select

from mythjobs.model.life import FINAL
from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.prune import IS_DELETABLE

job, attempt, kept = t.job, t.attempt, t.kept_output

# Maximum number of attempts kept of a job that has not ended. The condition of index
# `job_retried` contains the same number.
MAX_ATTEMPTS: Final = 1000

Attempt = tuple[int, int]


class Totals(NamedTuple):
    """Number of ended jobs, and bytes of kept output, by command id."""

    ended: Mapping[int, int]
    output_bytes: Mapping[int, int]


class OldJobs(NamedTuple):
    """A slice of the oldest ended jobs of a command.

    deletable: ids of the jobs that may be deleted. attempts: attempts of these jobs that have
    output. next: (end time, job id) after which the next slice starts; None: no more slices.
    """

    deletable: list[int]
    attempts: list[Attempt]
    next: tuple[int, int] | None


_READ_ENDED = Statement(
    select(t.tally.c.command_id, t.tally.c.jobs).where(
        t.tally.c.state.in_([literal(state) for state in sorted(FINAL)]), t.tally.c.jobs > 0
    )
)
_READ_OUTPUT = Statement(
    select(t.output_total.c.command_id, t.output_total.c.bytes).where(t.output_total.c.bytes > 0)
)
_READ_DEFINITIONS = Statement(
    select(t.command.c.command_id, t.command_revision.c.definition).where(
        t.command_revision.c.revision_id == t.command.c.revision_id
    )
)
_FIND_ENDED = Statement(
    select(job.c.job_id, job.c.ended_ms, job.c.state)
    .where(
        job.c.command_id == param("command_id"),
        job.c.ended_ms.is_not(None),
        job.c.ended_ms >= param("from_ms"),
        job.c.ended_ms < param("before_ms"),
        or_(job.c.ended_ms > param("from_ms"), job.c.job_id > param("after_job_id")),
    )
    .order_by(job.c.ended_ms, job.c.job_id)
    .limit(param("limit"))
)
_FIND_DELETABLE = Statement(
    select(job.c.job_id).where(in_list(job.c.job_id, "job_ids"), IS_DELETABLE)
)
_FIND_OUTPUT_OF_JOBS = Statement(
    select(kept.c.job_id, kept.c.n).where(in_list(kept.c.job_id, "job_ids"))
)
_OUTPUT = select(kept.c.job_id, kept.c.n, kept.c.bytes).order_by(kept.c.ended_ms)
_FIND_OLDEST = Statement(_OUTPUT.limit(param("limit")))
_FIND_OLDEST_OF = Statement(
    _OUTPUT.where(kept.c.command_id == param("command_id")).limit(param("limit"))
)
_FIND_RETRIED = Statement(
    select(job.c.job_id, job.c.attempts)
    .where(job.c.attempts > literal_column(str(MAX_ATTEMPTS)), job.c.ended_ms.is_(None))
    .limit(param("limit"))
)
_FIND_FIRST_ATTEMPTS = Statement(
    select(attempt.c.n)
    .where(attempt.c.job_id == param("job_id"), attempt.c.n <= param("last_n"))
    .order_by(attempt.c.n)
    .limit(param("limit"))
)
_COUNT_CLASSES = Statement(select(func.count()).select_from(t.job_class))
_READ_CLASS_IDS = Statement(select(t.job_class.c.class_id))
_READ_USED_CLASS_IDS = Statement(select(job.c.class_id).distinct())


def read_totals(tx: Transaction) -> Totals:
    ended: dict[int, int] = {}
    for command_id, jobs in _READ_ENDED.run(tx):
        ended[command_id] = ended.get(command_id, 0) + jobs
    return Totals(ended, dict(_READ_OUTPUT.run(tx)))


def read_retention_tables(tx: Transaction) -> dict[int, object]:
    """Return the [retention] table of each command that has one, by command id."""
    tables = {row[0]: json.loads(row[1]).get("retention") for row in _READ_DEFINITIONS.run(tx)}
    return {command_id: table for command_id, table in tables.items() if table}


def find_old_jobs(
    tx: Transaction,
    command_id: int,
    before_ms: int,
    start: tuple[int, int],
    limit: int,
    states: Sequence[str] = (),
) -> OldJobs:
    """Return the next ended jobs of a command in order of (end time, job id) after `start`.

    before_ms: only jobs that ended before this time are returned.
    states: only jobs in these states are deletable; () means all states.
    """
    rows = _FIND_ENDED.run(
        tx,
        command_id=command_id,
        before_ms=before_ms,
        from_ms=start[0],
        after_job_id=start[1],
        limit=limit,
    )
    ids = [job_id for job_id, _, state in rows if not states or state in states]
    found = {row[0] for row in _FIND_DELETABLE.run(tx, job_ids=ids)} if ids else set()
    deletable = [each for each in ids if each in found]  # oldest first
    with_output = _FIND_OUTPUT_OF_JOBS.run(tx, job_ids=deletable) if deletable else []
    last = (rows[-1][1], rows[-1][0]) if len(rows) == limit else None
    return OldJobs(deletable, [(row[0], row[1]) for row in with_output], last)


def find_old_output(
    tx: Transaction, command_id: int | None, excess_bytes: int, limit: int
) -> list[Attempt]:
    """Return the attempts with the oldest output, which together have at least `excess_bytes`.

    Return at most `limit` attempts. command_id: None means the output of all commands.
    """
    if command_id is None:
        rows = _FIND_OLDEST.run(tx, limit=limit)
    else:
        rows = _FIND_OLDEST_OF.run(tx, command_id=command_id, limit=limit)
    found: list[Attempt] = []
    for job_id, n, size in rows:
        if excess_bytes <= 0:
            break
        found.append((job_id, n))
        excess_bytes -= size
    return found


def find_first_attempts(tx: Transaction, limit: int) -> list[tuple[int, list[int]]]:
    """Return (job id, attempt numbers to delete) of open jobs with too many attempts.

    Of such a job the last MAX_ATTEMPTS attempts are kept.
    """
    found = []
    for job_id, attempts in _FIND_RETRIED.run(tx, limit=limit):
        last_n = attempts - MAX_ATTEMPTS
        rows = _FIND_FIRST_ATTEMPTS.run(tx, job_id=job_id, last_n=last_n, limit=limit)
        if rows:
            found.append((job_id, [row[0] for row in rows]))
    return found


def count_classes(tx: Transaction) -> int:
    return int(_COUNT_CLASSES.run(tx)[0][0])


def find_unused_classes(tx: Transaction) -> list[int]:
    """Return the ids of job classes without jobs. Reads all jobs, so do not call this in a turn."""
    used = {row[0] for row in _READ_USED_CLASS_IDS.run(tx)}
    return [row[0] for row in _READ_CLASS_IDS.run(tx) if row[0] not in used]
