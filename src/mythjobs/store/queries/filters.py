"""Job filters: count the jobs that match a filter, and find their ids in slices.

The job ids come from a few index ranges (`_Range`), each read in order of job id up to a limit.
So the cost of a query depends on the filter, not on the number of jobs in the store.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select
from sqlalchemy.sql import Select

from mythjobs.errors import NoSuchJob
from mythjobs.model.life import FINAL, LOST_OFTEN, JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal
from mythjobs.store.queries.commands import read_command_row
from mythjobs.store.statement import fetch_records
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches

j = t.job.c

_MAX_LOST: Final = 1000
_LIVE: Final = frozenset({JobState.LEASED, JobState.RUNNING})
_OPEN: Final = _LIVE | {JobState.QUEUED}


class JobFilter(NamedTuple):
    """Conditions on jobs, all of which must hold. The default of each matches every job.

    held: jobs held by a user, or by the master until a user decides.
    lost: jobs held because their attempts were lost several times in a row.
    since_ms: jobs that have not ended, or that ended at this time or later.
    """

    states: Sequence[str] = ()
    command: str | None = None
    batch: int | None = None
    subject: str | None = None
    held: bool = False
    ended_before_ms: int | None = None
    lost: bool = False
    since_ms: int | None = None


class _Range(NamedTuple):
    """Range of one index, and further conditions on its jobs.

    by: name of the index, None for the primary key; all but job_ended are in order of job id.
    first, last: job ids.
    """

    by: str | None
    conditions: tuple[ColumnElement[bool], ...] = ()
    first: int = 0
    last: int | None = None

    def select(self, *columns: Any, first: int = 0, last: int | None = None) -> Select[Any]:
        """Return a query for the jobs of this range with ids from `first` to `last`."""
        first = max(first, self.first)
        lasts = [each for each in (last, self.last) if each is not None]
        query = select(*columns).where(*self.conditions)
        # Give only one lower and one upper bound on the job id: if there are several, SQLite uses
        # only one of them to search the index.
        if first > 0:
            query = query.where(j.job_id >= first)
        if lasts:
            query = query.where(j.job_id <= min(lasts))
        if self.by is not None:
            # Name the index: without statistics SQLite may choose another index, for a condition
            # that most jobs meet.
            query = query.with_hint(t.job, f"INDEXED BY {self.by}", "sqlite")
        return query


def _find_ranges(tx: Transaction, which: JobFilter) -> list[_Range]:
    """Return index ranges that together contain each matching job once. Raises NoSuchCommand, and
    NoSuchJob for a batch that is unknown or not yet open.

    The ranges contain jobs of batches that are not opened yet, too; callers must exclude them.
    """
    command_id = None
    if which.command is not None:
        command_id = int(read_command_row(tx, which.command)["command_id"])
    states = frozenset(JobState(each) for each in which.states)
    conditions = tuple(_conditions(which, command_id, states))
    if which.batch is not None:
        return _batch_ranges(tx, which.batch, conditions)
    if which.subject is not None:
        return [_Range("job_about", conditions)]
    if which.lost:
        return [_Range("job_lost", conditions)]
    if which.held:
        return [_Range("job_held", conditions)]
    if states and states <= _LIVE:
        # Select live jobs by id: there are only few, and an index finds their attempts.
        return [_Range(None, (j.job_id.in_(_read_live_ids(tx)), *conditions))]
    if which.ended_before_ms is not None:
        states = FINAL.intersection(states or FINAL)
    elif which.since_ms is not None:
        return _find_recent_ranges(tx, which.since_ms, command_id, states or set(JobState))
    elif command_id is None and not states:
        return [_Range(None)]
    command_ids = [command_id] if command_id is not None else _read_command_ids(tx, states)
    ended = tuple(_ended_conditions(which))
    return [
        _Range(index, (j.command_id == each, _in_states(some), *ended))
        for each in command_ids
        for index, some in _split_states(states or set(JobState))
    ]


def _find_recent_ranges(
    tx: Transaction, since_ms: int, command_id: int | None, states: Collection[JobState]
) -> list[_Range]:
    """Return ranges of the jobs in these states that have not ended or ended since `since_ms`.

    The ended ones are read by end time and then sorted: usually they are few of all that ended.
    """
    command_ids = [command_id] if command_id is not None else _read_command_ids(tx, states)
    ranges = []
    for each in command_ids:
        if some := FINAL.intersection(states):
            since = (_in_states(some), j.ended_ms.is_not(None), j.ended_ms >= since_ms)
            ranges.append(_Range("job_ended", (j.command_id == each, *since)))
        if some := _OPEN.intersection(states):
            ranges.append(_Range("job_open", (j.command_id == each, _in_states(some))))
    return ranges


def _conditions(
    which: JobFilter, command_id: int | None, states: Collection[JobState]
) -> Iterator[ColumnElement[bool]]:
    if states:
        yield _in_states(states)
    if command_id is not None:
        yield j.command_id == command_id
    if which.subject is not None:
        yield j.subject == which.subject
    if which.held or which.lost:
        # Compare with a literal: for a parameter SQLite does not use the partial index.
        yield j.hold == literal_column("1")
    if which.lost:
        yield j.reason_code == literal(LOST_OFTEN)
    yield from _ended_conditions(which)


def _ended_conditions(which: JobFilter) -> Iterator[ColumnElement[bool]]:
    if which.ended_before_ms is not None:
        yield j.ended_ms.is_not(None)
        yield j.ended_ms < which.ended_before_ms
    if which.since_ms is not None:
        yield or_(j.ended_ms.is_(None), j.ended_ms >= which.since_ms)


def _in_states(states: Collection[JobState]) -> ColumnElement[bool]:
    """Return the condition for job states, spelled as in the partial index for these states.

    SQLite does not use a partial index for a condition that is spelled differently.
    """
    if len(states) == 1 and FINAL.issuperset(states):
        [state] = states
        return j.state == literal(state)
    in_states = j.state.in_([literal(state) for state in sorted(states)])
    return and_(j.ended_ms.is_(None), in_states) if _OPEN.issuperset(states) else in_states


def _split_states(states: Collection[JobState]) -> Iterator[tuple[str, Collection[JobState]]]:
    """Yield (index, states) for each index by command and job id with jobs in these states."""
    for state in sorted(FINAL.intersection(states)):
        yield f"job_{state}", {state}
    if some := _OPEN.intersection(states):
        yield "job_open", some


def _batch_ranges(
    tx: Transaction, batch_id: int, conditions: tuple[ColumnElement[bool], ...]
) -> list[_Range]:
    rows = fetch_records(
        tx,
        select(t.batch.c.first_job_id, t.batch.c.jobs).where(
            t.batch.c.batch_id == batch_id, t.batch.c.opened_ms.is_not(None)
        ),
    )
    if not rows:
        raise NoSuchJob(f"there is no batch {batch_id}")
    return [
        _Range(
            None,
            (j.batch_id == batch_id, *conditions),
            row["first_job_id"],
            row["first_job_id"] + row["jobs"] - 1,
        )
        for row in rows
    ]


def _read_live_ids(tx: Transaction) -> list[int]:
    query = select(t.attempt.c.job_id).where(t.attempt.c.over_ms.is_(None))
    return [row["job_id"] for row in fetch_records(tx, query)]


def _read_command_ids(tx: Transaction, states: Collection[JobState]) -> list[int]:
    """Return the ids of all commands with jobs in these states, including removed commands."""
    tally = t.tally.c
    query = select(tally.command_id).where(tally.state.in_(list(states)), tally.jobs > 0).distinct()
    return [row["command_id"] for row in fetch_records(tx, query)]


def count_jobs(tx: Transaction, which: JobFilter) -> dict[str, int]:
    """Return the number of matching jobs by state, for all states."""
    total = {str(state): 0 for state in JobState}
    for query in _select_counts(tx, which):
        for row in fetch_records(tx, query):
            total[row["state"]] += row["jobs"]
    return total


def _select_counts(tx: Transaction, which: JobFilter) -> list[Select[Any]]:
    if which == JobFilter(states=which.states, command=which.command):
        return [_select_counters(tx, which)]
    jobs = func.count().label("jobs")
    by_end = which.ended_before_ms is not None and which == JobFilter(
        which.states, which.command, ended_before_ms=which.ended_before_ms
    )
    ranges = _ended_ranges(tx, which) if by_end else _find_ranges(tx, which)
    return [each.select(j.state, jobs).group_by(j.state) for each in ranges]


def _select_counters(tx: Transaction, which: JobFilter) -> Select[Any]:
    """Return a query for the stored counters, for a filter on state and command alone."""
    tally = t.tally.c
    query = select(tally.state, tally.jobs)
    if which.states:
        query = query.where(tally.state.in_(which.states))
    if which.command is not None:
        command_id = read_command_row(tx, which.command)["command_id"]
        query = query.where(tally.command_id == command_id)
    return query


def _ended_ranges(tx: Transaction, which: JobFilter) -> list[_Range]:
    """Return one range of ended jobs per command, of the index by command and end time."""
    states = FINAL.intersection(which.states or FINAL)
    if not states:
        return []
    if which.command is not None:
        command_ids = [int(read_command_row(tx, which.command)["command_id"])]
    else:
        command_ids = _read_command_ids(tx, states)
    conditions = (_in_states(states), *_ended_conditions(which))
    return [_Range("job_ended", (j.command_id == each, *conditions)) for each in command_ids]


def find_max_id(tx: Transaction) -> int:
    """Return the highest job id; 0 if there are no jobs."""
    return int(
        fetch_records(tx, select(func.coalesce(func.max(j.job_id), 0).label("last")))[0]["last"]
    )


def find_ids(
    tx: Transaction, which: JobFilter, after_job_id: int, up_to_job_id: int, limit: int
) -> list[int]:
    """Return the ids of matching jobs in a range of ids, ascending, at most `limit`.

    Jobs of unopened batches are left out.
    """
    found = []
    for each in _find_ranges(tx, which):
        query = (
            each.select(j.job_id, first=after_job_id + 1, last=up_to_job_id)
            .where(j.hold != batches.HOLD_UNOPENED)
            .order_by(j.job_id)
            .limit(limit)
        )
        found.append([row["job_id"] for row in fetch_records(tx, query)])
    return list(islice(heapq.merge(*found), limit))


def find_last_ids(
    tx: Transaction,
    which: JobFilter,
    is_visible: ColumnElement[bool],
    before: int | None,
    limit: int,
) -> list[int]:
    """Return the highest ids of matching jobs below `before`, descending, at most `limit`.

    is_visible: a further condition on the jobs.
    """
    last = None if before is None else before - 1
    found = []
    for each in _find_ranges(tx, which):
        query = (
            each.select(j.job_id, last=last)
            .where(is_visible)
            .order_by(j.job_id.desc())
            .limit(limit)
        )
        found.append([row["job_id"] for row in fetch_records(tx, query)])
    return list(islice(heapq.merge(*found, reverse=True), limit))


def find_lost_jobs(tx: Transaction) -> list[int]:
    """Return ids, at most _MAX_LOST, of jobs held because several attempts in a row were lost."""
    return find_ids(tx, JobFilter(lost=True), 0, find_max_id(tx), _MAX_LOST)
