"""Jobs by what they have in common: counted, and their numbers slice by slice."""

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
    """What is None, or no states, is not asked. `held`: by a person."""

    states: Sequence[str] = ()
    command: str | None = None
    batch: int | None = None
    subject: str | None = None
    held: bool = False
    ended_before_ms: int | None = None


def build_conditions(tx: Transaction, which: JobFilter) -> list[ColumnElement[bool]]:
    """Raises NoSuchCommand. A job of a batch that is not whole yet may be among what they let
    through; who lists jobs leaves it out."""
    found: list[ColumnElement[bool]] = []
    if which.batch is not None:
        found += [j.batch_id == which.batch, *_range(tx, which.batch)]
    if which.command is not None:
        found.append(j.command_id == read_command_row(tx, which.command)["command_id"])
    if which.subject is not None:
        found.append(j.subject == which.subject)
    if which.held:
        found.append(j.hold == 1)
    if which.ended_before_ms is not None:
        found.append(j.ended_ms < which.ended_before_ms)
    return found + build_state_conditions(which.states)


def build_state_conditions(states: Sequence[str]) -> list[ColumnElement[bool]]:
    if not states:
        return []
    live = {JobState.LEASED, JobState.RUNNING}
    if set(states) <= live:
        # Few jobs are live, and their attempts have an index of their own.
        ids = select(t.attempt.c.job_id).where(t.attempt.c.over_ms.is_(None))
        return [j.job_id.in_(ids), j.state.in_(states)]
    # With the words as literals, and the end said as such, each finds the index made for it.
    found: list[ColumnElement[bool]] = [j.state.in_([literal(JobState(each)) for each in states])]
    if set(states) <= FINAL:
        found.append(j.ended_ms.is_not(None))
    elif not set(states) & FINAL:
        found.append(j.ended_ms.is_(None))
    return found


def _range(tx: Transaction, batch_id: int) -> list[ColumnElement[bool]]:
    found = fetch_records(
        tx, select(t.batch.c.first_job_id, t.batch.c.jobs).where(t.batch.c.batch_id == batch_id)
    )
    if not found:
        return []
    first, count = found[0]["first_job_id"], found[0]["jobs"]
    return [j.job_id >= first, j.job_id < first + count]


def count_jobs(tx: Transaction, which: JobFilter) -> dict[str, int]:
    """How many there are in each state, also in those of which there are none."""
    total = {str(state): 0 for state in JobState}
    for row in fetch_records(tx, _counted(tx, which)):
        total[row["state"]] += row["jobs"]
    return total


def _counted(tx: Transaction, which: JobFilter) -> Select[Any]:
    if which == JobFilter(states=which.states, command=which.command):
        # The tallies know: a million jobs are not counted to be shown.
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


def find_last_id(tx: Transaction) -> int:
    """The highest number of a job that is there."""
    return int(
        fetch_records(tx, select(func.coalesce(func.max(j.job_id), 0).label("last")))[0]["last"]
    )


def find_ids(tx: Transaction, which: JobFilter, above: int, upto: int, most: int) -> list[int]:
    """The next numbers of those jobs, ascending; none of a batch that is not whole yet."""
    query = (
        select(j.job_id)
        .where(j.job_id > above, j.job_id <= upto, j.hold != batches.HOLD_UNOPENED)
        .where(*build_conditions(tx, which))
        .order_by(j.job_id)
        .limit(most)
    )
    return [row["job_id"] for row in fetch_records(tx, query)]
