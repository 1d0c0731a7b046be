"""Counters of jobs by command and state, and of batches' ended jobs.

A transaction writes the counters once, at its commit.
"""

from __future__ import annotations

from sqlalchemy import insert, update

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

_ADD = Statement(
    update(t.tally)
    .where(t.tally.c.command_id == param("command_id"), t.tally.c.state == param("state"))
    .values(jobs=t.tally.c.jobs + param("added")),
    unique_rows=True,
)
_INSERT = Statement(insert(t.tally), t.tally.c.keys())
# For each final state, the statement that adds to a batch's number of jobs in that state, and
# returns the number of the batch's jobs that have not ended.
_ADD_ENDED = {
    state: Statement(
        update(t.batch)
        .where(t.batch.c.batch_id == param("batch_id"))
        .values({state.value: t.batch.c[state.value] + param("added")})
        .returning(t.batch.c.jobs - t.batch.c.succeeded - t.batch.c.failed - t.batch.c.cancelled)
    )
    for state in sorted(FINAL)
}


_ADD_OUTPUT = Statement(
    update(t.output_total)
    .where(t.output_total.c.command_id == param("command_id"))
    .values(bytes=t.output_total.c.bytes + param("added")),
    unique_rows=True,
)
_INSERT_OUTPUT = Statement(insert(t.output_total), t.output_total.c.keys())


def create_command_counters(tx: Transaction, command_id: int) -> None:
    """Insert the counters of a new command."""
    rows = [{"command_id": command_id, "state": str(state), "jobs": 0} for state in JobState]
    _INSERT.run_many(tx, rows)
    _INSERT_OUTPUT.run(tx, command_id=command_id, bytes=0)


def write_changes(tx: Transaction) -> list[int]:
    """Write a transaction's counter changes; return ids of batches whose last job has ended."""
    rows = [
        {"command_id": command_id, "state": state, "added": added}
        for (command_id, state), added in tx.job_count_changes.items()
        if added
    ]
    _ADD.run_many(tx, rows)
    tx.job_count_changes.clear()
    if tx.output_changes:
        _ADD_OUTPUT.run_many(
            tx, [{"command_id": key, "added": added} for key, added in tx.output_changes.items()]
        )
        tx.output_changes.clear()
    completed = []
    for (batch_id, state), added in tx.batch_count_changes.items():
        left = _ADD_ENDED[JobState(state)].run(tx, batch_id=batch_id, added=added)
        if left and left[0][0] == 0:
            completed.append(batch_id)
    tx.batch_count_changes.clear()
    return completed
