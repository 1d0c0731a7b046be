"""Queries for one job in the form of the HTTP API (docs/api.md), and for attempts' output."""

from __future__ import annotations

import json
from base64 import b64decode

from sqlalchemy import select

from mythjobs.errors import BadRequest, NoSuchJob
from mythjobs.model import outcome as o
from mythjobs.model.limits import usage_from_json
from mythjobs.protocol import responses
from mythjobs.store import tables as t
from mythjobs.store.queries.jobs import job_to_record, select_visible_jobs
from mythjobs.store.statement import Record, fetch_records
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.dependencies import SERIAL


def read_job(tx: Transaction, job_id: int) -> Record:
    """Return a job with its dependencies, attempts and events. Raises NoSuchJob."""
    rows = fetch_records(tx, select_visible_jobs().where(t.job.c.job_id == job_id))
    if not rows:
        raise NoSuchJob(f"there is no job {job_id}")
    after = fetch_records(
        tx,
        select(t.dependency.c.on_job_id, t.dependency.c.accept, t.dependency.c.met).where(
            t.dependency.c.job_id == job_id
        ),
    )
    events = fetch_records(
        tx,
        select(t.event.c.at_ms, t.event.c.n, t.event.c.kind, t.event.c.detail)
        .where(t.event.c.job_id == job_id)
        .order_by(t.event.c.event_id),
    )
    return {
        **job_to_record(rows[0]),
        "after": [
            {
                "job": each["on_job_id"],
                "when": "any" if each["accept"] == SERIAL else each["accept"],
                "met": bool(each["met"]),
            }
            for each in after
        ],
        "attempts": _read_attempts(tx, job_id),
        "events": events,
    }


def _read_attempts(tx: Transaction, job_id: int) -> list[responses.Attempt]:
    query = (
        select(t.attempt, t.machine.c.name)
        .select_from(
            t.attempt.outerjoin(t.machine, t.machine.c.machine_id == t.attempt.c.machine_id)
        )
        .where(t.attempt.c.job_id == job_id)
        .order_by(t.attempt.c.n)
    )
    return [_attempt_to_record(row) for row in fetch_records(tx, query)]


def _attempt_to_record(row: Record) -> responses.Attempt:
    outcome = json.loads(row["outcome"]) if row["outcome"] else None
    usage = json.loads(row["usage"]) if row["usage"] else None
    if usage is not None:
        usage["cpu_s"] = usage_from_json(usage).cpu_s
    if row["over_ms"] is not None:
        state = "over"
    else:
        state = "leased" if row["started_ms"] is None else "running"
    return {
        "n": row["n"],
        "machine": row["name"],
        "state": state,
        "silence": row["silence"],
        "lease_s": row["lease_s"],
        "leased_ms": row["leased_ms"],
        "started_ms": row["started_ms"],
        "over_ms": row["over_ms"],
        "outcome": outcome,
        "sentence": o.describe(o.from_json(outcome)) if outcome else "",
        "evidence": row["evidence"],
        "usage": usage,
        "output": json.loads(row["output"]) if row["output"] else [],
    }


def read_attempt_output(tx: Transaction, job_id: int, n: int | None) -> Record:
    """Return the machine that has an attempt's output, the sizes of its streams, and the bytes of
    each stream if they are in the store.

    n: attempt number, None for the last attempt.
    Raises NoSuchJob, and BadRequest if the job has no attempt `n`.
    """
    last_n = read_job(tx, job_id)["attempt"]
    if n is None:
        n = last_n
    query = select(
        t.attempt.c.n,
        t.attempt.c.machine_id,
        t.attempt.c.over_ms,
        t.attempt.c.started_ms,
        t.attempt.c.output,
        t.kept_output.c.data,
    )
    query = query.select_from(
        t.attempt.outerjoin(
            t.kept_output,
            (t.kept_output.c.job_id == t.attempt.c.job_id) & (t.kept_output.c.n == t.attempt.c.n),
        )
    ).where(t.attempt.c.job_id == job_id, t.attempt.c.n == n)
    rows = fetch_records(tx, query)
    if not rows:
        raise BadRequest(
            f"job {job_id} has not run yet"
            if not last_n
            else f"job {job_id} has no attempt {n}; the last is {last_n}"
        )
    row = rows[0]
    return {
        "n": row["n"],
        "machine_id": row["machine_id"],
        "state": "over" if row["over_ms"] is not None else "live",
        "output": json.loads(row["output"]) if row["output"] else [],
        "data": [b64decode(each) for each in json.loads(row["data"] or "[]")],
    }


def find_attempt_machines(
    tx: Transaction, attempts: list[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """Return the machine id of each attempt (job id, attempt number) whose output is kept."""
    found = {}
    for job_id, n in attempts:
        query = select(t.attempt.c.machine_id, t.attempt.c.output).where(
            t.attempt.c.job_id == job_id, t.attempt.c.n == n
        )
        for row in fetch_records(tx, query):
            sizes = json.loads(row["output"]) if row["output"] else []
            # Leave out attempts with sizes of 0: retention has deleted their output, even if the
            # machine still has it.
            if not sizes or any(head + tail for _, head, tail in sizes):
                found[job_id, n] = row["machine_id"]
    return found
