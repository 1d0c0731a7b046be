"""Queries that return commands in the form of the HTTP API (docs/api.md), and counts of jobs."""

from __future__ import annotations

import json

from sqlalchemy import select

from mythjobs.errors import BadRequest, command_not_found
from mythjobs.model.command import RUN
from mythjobs.model.life import JobState
from mythjobs.protocol import responses
from mythjobs.store import tables as t
from mythjobs.store.expressions import literal
from mythjobs.store.queries.statistics import compute_statistics, summarize_recent
from mythjobs.store.statement import Record, Statement, fetch_records
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.commands import read_names

revision = t.command_revision

_READ_QUEUED_COUNTS = Statement(
    select(t.tally.c.command_id, t.tally.c.jobs).where(
        t.tally.c.state == literal(JobState.QUEUED), t.tally.c.jobs > 0
    )
)


def list_commands(tx: Transaction, *, statistics: bool = False) -> responses.Commands:
    """Return all commands; with `statistics` also how the last jobs of each went."""
    query = (
        select(
            t.command.c.name,
            t.command.c.enabled,
            t.command.c.created_ms,
            t.command.c.put_off_ms,
            revision,
        )
        .select_from(t.command.join(revision, revision.c.revision_id == t.command.c.revision_id))
        .order_by(t.command.c.name)
    )
    listed: list[responses.CommandSummary] = []
    for row in fetch_records(tx, query):
        definition = json.loads(row["definition"])
        listed.append(
            {
                "name": row["name"],
                "summary": definition.get("summary", ""),
                "revision": row["number"],
                "enabled": bool(row["enabled"]),
                "created_ms": row["created_ms"],
                "parameters": [each["name"] for each in definition.get("parameters", [])],
                "put_off_ms": row["put_off_ms"],
                "recent": _summarize(tx, row) if statistics else None,
            }
        )
    return {"commands": listed}


def _summarize(tx: Transaction, row: Record) -> responses.RecentJobs:
    return summarize_recent(tx, row["command_id"], is_run=row["name"] == RUN)


def read_command_row(tx: Transaction, name: str) -> Record:
    rows = fetch_records(tx, select(t.command).where(t.command.c.name == name))
    if not rows:
        raise command_not_found(name, read_names(tx).values())
    return rows[0]


def read_command(
    tx: Transaction, name: str, number: int | None = None, *, statistics: bool = False
) -> responses.CommandDetails:
    """Return a command with the definition of its newest revision, or of revision `number`.

    Raises NoSuchCommand, and BadRequest if the command has no revision `number`.
    """
    row = read_command_row(tx, name)
    query = select(revision).where(revision.c.command_id == row["command_id"])
    if number is None:
        query = query.where(revision.c.revision_id == row["revision_id"])
    else:
        query = query.where(revision.c.number == number)
    rows = fetch_records(tx, query)
    if not rows:
        raise BadRequest(
            f"command {name} has no revision {number}; "
            f"see `mythjobs command show --revisions {name}`"
        )
    revised = rows[0]
    return {
        "name": name,
        "revision": revised["number"],
        "enabled": bool(row["enabled"]),
        "created_ms": row["created_ms"],
        "revised_ms": revised["created_ms"],
        "put_off_ms": row["put_off_ms"],
        "put_off_reason": row["put_off_reason"],
        "definition": json.loads(revised["definition"]),
        "statistics": compute_statistics(tx, row["command_id"]) if statistics else None,
        "recent": _summarize(tx, row) if statistics else None,
    }


def list_revisions(tx: Transaction, name: str) -> responses.Revisions:
    """Return all revisions of a command, newest first. Raises NoSuchCommand."""
    query = (
        select(revision.c.number, revision.c.created_ms)
        .where(revision.c.command_id == read_command_row(tx, name)["command_id"])
        .order_by(revision.c.number.desc())
    )
    rows = fetch_records(tx, query)
    return {
        "revisions": [
            {"revision": each["number"], "created_ms": each["created_ms"]} for each in rows
        ]
    }


def read_queue_counts(tx: Transaction) -> responses.QueueCounts:
    """Return the number of jobs by state, and of queued and running jobs by command."""
    total = {str(state): 0 for state in JobState}
    by_command: dict[int, dict[str, int]] = {}
    for row in fetch_records(tx, select(t.tally)):
        total[row["state"]] += row["jobs"]
        by_command.setdefault(row["command_id"], {})[row["state"]] = row["jobs"]
    listed: list[responses.CommandLoad] = []
    for row in fetch_records(
        tx,
        select(
            t.command.c.command_id, t.command.c.name, t.command.c.enabled, t.command.c.put_off_ms
        ).order_by(t.command.c.name),
    ):
        counts = by_command.get(row["command_id"], {})
        queued = counts.get("queued", 0)
        running = counts.get("running", 0) + counts.get("leased", 0)
        if queued or running:
            oldest_ms = _find_oldest_queued_ms(tx, row["command_id"]) if queued else None
            listed.append(
                {
                    "name": row["name"],
                    "queued": queued,
                    "running": running,
                    "oldest_ms": oldest_ms,
                    "enabled": bool(row["enabled"]),
                    "put_off_ms": row["put_off_ms"],
                }
            )
    return {"counts": total, "commands": listed}


def _find_oldest_queued_ms(tx: Transaction, command_id: int) -> int | None:
    query = (
        select(t.job.c.submitted_ms)
        .where(
            t.job.c.command_id == command_id, t.job.c.ended_ms.is_(None), t.job.c.state == "queued"
        )
        .order_by(t.job.c.job_id)
        .limit(1)
    )
    rows = fetch_records(tx, query)
    return rows[0]["submitted_ms"] if rows else None


def count_queued_by_command(tx: Transaction) -> dict[int, int]:
    """Return the number of queued jobs by command id, for commands that have any.

    The numbers are as of the last commit, as counters are written at the commit.
    """
    return {row[0]: row[1] for row in _READ_QUEUED_COUNTS.run(tx)}
