"""Query that returns one batch with its progress, in the form of the HTTP API (docs/api.md)."""

from __future__ import annotations

from sqlalchemy import select

from mythjobs.errors import NoSuchJob
from mythjobs.protocol import responses
from mythjobs.store import tables as t
from mythjobs.store.statement import fetch_records
from mythjobs.store.transaction import Transaction


def read_batch(tx: Transaction, batch_id: int) -> responses.Batch:
    """Return a batch with its progress. Raises NoSuchJob if it is unknown or not yet open."""
    rows = fetch_records(
        tx,
        select(t.batch, t.command.c.name)
        .select_from(t.batch.outerjoin(t.command, t.command.c.command_id == t.batch.c.command_id))
        .where(t.batch.c.batch_id == batch_id, t.batch.c.opened_ms.is_not(None)),
    )
    if not rows:
        raise NoSuchJob(f"there is no batch {batch_id}")
    row = rows[0]
    ended = {state: row[state] for state in ("succeeded", "failed", "cancelled")}
    first = row["first_job_id"]
    return {
        "batch": batch_id,
        "command": row["name"],
        "jobs": row["jobs"],
        "counts": {**ended, "open": row["jobs"] - sum(ended.values())},
        "first": first,
        "last": first + row["jobs"] - 1,
        "over": sum(ended.values()) == row["jobs"],
    }
