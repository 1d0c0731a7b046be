"""Job filters: counts, and ids in slices, of the jobs that match a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.sql import Select

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.queries.commands import read_command_row
from mythjobs.store.statement import fetch_records, literal
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches

j = t.job.c


class JobFilter(NamedTuple):
    """Conditions that all must hold; None and () match every job. `held`: by a user."""

    states: Sequence[str] = ()
    command: str | None = None
    batch: int | None = None
    subject: str | None = None
    held: bool = False
    ended_before_ms: int | None = None


def build_conditions(tx: Transaction, which: JobFilter) -> list[ColumnElement[bool]]:
    """Return SQL conditions of the filter. Raises NoSuchCommand.

    They also match jobs of unopened batches, which the callers exclude.
    """
    conditions: list[ColumnElement[bool]] = []
    if which.batch is not None:
        conditions += [j.batch_id == which.batch, *_batch_range(tx, which.batch)]
    if which.command is not None:
        conditions.append(j.command_id == read_command_row(tx, which.command)["command_id"])
    if which.subject is not None:
        conditions.append(j.subject == which.subject)
    if which.held:
        conditions.append(j.hold == 1)
    if which.ended_before_ms is not None:
        conditions.append(j.ended_ms < which.ended_before_ms)
    return conditions + _state_conditions(which.states)


def _state_conditions(states: Sequence[str]) -> list[ColumnElement[bool]]:
    if not states:
        return []
    live = {JobState.LEASED, JobState.RUNNING}
    if set(states) <= live:
        # Few jobs are live, and live attempts have an index.
        ids = select(t.attempt.c.job_id).where(t.attempt.c.over_ms.is_(None))
        return [j.job_id.in_(ids), j.state.in_(states)]
    # Literals, and the condition on `ended_ms`, let SQLite use the partial indexes.
    conditions: list[ColumnElement[bool]] = [
        j.state.in_([literal(JobState(each)) for each in states])
    ]
    if set(states) <= FINAL:
        conditions.append(j.ended_ms.is_not(None))
    elif not set(states) & FINAL:
        conditions.append(j.ended_ms.is_(None))
    return conditions


def _batch_range(tx: Transaction, batch_id: int) -> list[ColumnElement[bool]]:
    rows = fetch_records(
        tx, select(t.batch.c.first_job_id, t.batch.c.jobs).where(t.batch.c.batch_id == batch_id)
    )
    if not rows:
        return []
    first, count = rows[0]["first_job_id"], rows[0]["jobs"]
    return [j.job_id >= first, j.job_id < first + count]


def count_jobs(tx: Transaction, which: JobFilter) -> dict[str, int]:
    """Return the number of matching jobs by state, for all states."""
    total = {str(state): 0 for state in JobState}
    for row in fetch_records(tx, _select_counts(tx, which)):
        total[row["state"]] += row["jobs"]
    return total


def _select_counts(tx: Transaction, which: JobFilter) -> Select[Any]:
    if which == JobFilter(states=which.states, command=which.command):
        # The counters have the result already.
        tally = t.tally.c
        query = select(tally.state, tally.jobs)
        if which.states:
            query = query.where(tally.state.in_(which.states))
        if which.command is not None:
            query = query.where(
                tally.command_id == read_command_row(tx, which.command)["command_id"]
            )
        return query
    jobs = func.count().label("jobs")
    return select(j.state, jobs).where(*build_conditions(tx, which)).group_by(j.state)


def find_max_id(tx: Transaction) -> int:
    """Return the highest job id, 0 without jobs."""
    return int(
        fetch_records(tx, select(func.coalesce(func.max(j.job_id), 0).label("last")))[0]["last"]
    )


def find_ids(
    tx: Transaction, which: JobFilter, after_job_id: int, up_to_job_id: int, limit: int
) -> list[int]:
    """Return the ids of the next matching jobs, ascending, without jobs of unopened batches."""
    query = (
        select(j.job_id)
        .where(j.job_id > after_job_id, j.job_id <= up_to_job_id, j.hold != batches.HOLD_UNOPENED)
        .where(*build_conditions(tx, which))
        .order_by(j.job_id)
        .limit(limit)
    )
    return [row["job_id"] for row in fetch_records(tx, query)]
