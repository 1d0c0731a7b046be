"""Builders of a queue: the store's functions, called as the master calls them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from mythjobs.model import outcome as o
from mythjobs.model.life import JobEvent, JobState
from mythjobs.model.machine_policy import ALLOW_ALL
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import (
    batches,
    commands,
    dependencies,
    events,
    job_state,
    jobs,
    machines,
    readiness,
    upkeep,
)

NOON: Final = 1_800_000_000_000
ATTIC, CELLAR = 1, 2
EXITED: Final = json.dumps(o.to_json(o.Exited(0)))


def define_command(
    tx: Transaction, name: str = "true", **definition: object
) -> commands.CommandRevision:
    return commands.define(tx, name, {"name": name, "argv": ["/bin/true"]} | definition, at_ms=NOON)


def enrol_machines(tx: Transaction) -> None:
    """Enrol ATTIC and CELLAR."""
    for name in ("attic", "cellar"):
        machines.enrol(
            tx, name=name, key=f"key of {name}", rights=ALLOW_ALL.to_json(), cores=4,
            boot_id="boot", at_ms=NOON,
        )  # fmt: skip


def queue_jobs(
    tx: Transaction,
    count: int = 1,
    *,
    command: str = "true",
    submitter: str = "anna",
    after: Sequence[tuple[int, str]] = (),
    **columns: Any,
) -> list[int]:
    """Queue jobs of a command, defined if it is new; return their ids."""
    defined = commands.find_by_name(tx, command) or define_command(tx, command)
    class_id = commands.ensure_class(tx, defined, submitter)
    first = jobs.read_next_id(tx)
    jobs.save_next_id(tx, first + count)
    ids = list(range(first, first + count))
    row: dict[str, Any] = {"arguments": "{}", "submitted_ms": NOON, "unmet": len(after)} | columns
    jobs.add(tx, [jobs.NewJob(job_id, class_id, defined.command_id, **row) for job_id in ids])
    dependencies.add(tx, [(job_id, on, when, False) for job_id in ids for on, when in after])
    readiness.refresh(tx, ids)
    return ids


def queue_batch(tx: Transaction, count: int, **columns: Any) -> int:
    """Insert a batch of ready jobs, which get the next job ids; return the batch's id."""
    defined = commands.find_by_name(tx, "true") or define_command(tx)
    first = jobs.read_next_id(tx)
    batch_id = batches.begin_batch(
        tx,
        command_id=defined.command_id,
        first_job_id=first,
        jobs=count,
        at_ms=NOON,
        opened_ms=None,
    )
    queue_jobs(tx, count, batch_id=batch_id, hold=batches.HOLD_UNOPENED, **columns)
    batches.open_batch(tx, batch_id, first, first + count - 1, held=False, at_ms=NOON)
    while work := upkeep.find_next(tx):
        readiness.refresh_subjects(
            tx, {each for _, each in batches.open_slice(tx, work, 500) if each}
        )
    return batch_id


def queue_job(tx: Transaction, **columns: Any) -> int:
    [job_id] = queue_jobs(tx, 1, **columns)
    return job_id


def lease(
    tx: Transaction, *job_ids: int, machine: int = ATTIC, at_ms: int = NOON
) -> list[job_state.LeasedJob]:
    """Lease jobs as placement does."""
    placed = [job_state.Placement(job_id, machine, "boot", "rerun", 1800.0) for job_id in job_ids]
    leased = job_state.lease(tx, placed, at_ms=at_ms)
    readiness.refresh_subjects(tx, {each.subject for each in leased if each.subject is not None})
    return sorted(leased)


def start(tx: Transaction, *leased: job_state.LeasedJob, at_ms: int = NOON) -> None:
    job_state.start(
        tx, [job_state.AttemptStart(e.job_id, e.n, e.command_id, at_ms) for e in leased]
    )


def end(
    tx: Transaction,
    leased: job_state.LeasedJob,
    event: JobEvent = JobEvent.SUCCEEDED,
    *,
    old_state: JobState = JobState.RUNNING,
    outcome: str = EXITED,
    at_ms: int = NOON,
    **columns: Any,
) -> None:
    """End an attempt and update the job, its dependents and its subject as the master does."""
    row = {
        "started_ms": at_ms if old_state is JobState.RUNNING else None,
        "usage": "", "output": "", "evidence": "observed",
        "reason_code": "" if event is JobEvent.SUCCEEDED else str(event),
        "reason": "" if event is JobEvent.SUCCEEDED else f"it was {event}",
    } | columns  # fmt: skip
    ended = job_state.AttemptEnd(
        leased.job_id, leased.n, leased.command_id, leased.batch_id, old_state, event,
        outcome=outcome, **row,
    )  # fmt: skip
    job_state.end(tx, [ended], at_ms=at_ms)
    if event in (JobEvent.REQUEUED, JobEvent.RETURNED):
        events.add(tx, [events.Event(leased.job_id, leased.n, at_ms, str(event), "")])
        readiness.refresh(tx, [leased.job_id])
    else:
        final = {leased.job_id: JobState(event)}
        freed = dependencies.resolve_ended(tx, final, limit=1000).freed
        dependencies.mark_all_met(tx, [leased.job_id])
        readiness.refresh(tx, freed)
    if leased.subject is not None:
        readiness.refresh_subjects(tx, {leased.subject})


def run(tx: Transaction, job_id: int, event: JobEvent = JobEvent.SUCCEEDED, **columns: Any) -> None:
    """Lease, start and end one attempt."""
    [leased] = lease(tx, job_id)
    start(tx, leased)
    end(tx, leased, event, **columns)


def read_column(tx: Transaction, job_id: int, name: str) -> Any:
    tx.cursor.execute(f"SELECT {name} FROM job WHERE job_id = {job_id:d}")
    return tx.cursor.fetchone()[0]


def read_state(tx: Transaction, job_id: int) -> JobState:
    return JobState(read_column(tx, job_id, "state"))


def is_ready(tx: Transaction, job_id: int) -> bool:
    return read_column(tx, job_id, "ready_class") is not None
