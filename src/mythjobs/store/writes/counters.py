"""Writes what a transaction counted: jobs by command and state, and the ends of batches."""

from __future__ import annotations

from sqlalchemy import insert, update

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, param
from mythjobs.store.transaction import Transaction

_ADD = Statement(
    update(t.tally)
    .where(t.tally.c.command_id == param("command"), t.tally.c.state == param("was"))
    .values(jobs=t.tally.c.jobs + param("more")),
    unique_rows=True,
)
_NEW = Statement(insert(t.tally), ("command_id", "state", "jobs"))
_OVER = {
    state: Statement(
        update(t.batch)
        .where(t.batch.c.batch_id == param("batch"))
        .values({state.value: t.batch.c[state.value] + param("more")})
        .returning(t.batch.c.jobs - t.batch.c.succeeded - t.batch.c.failed - t.batch.c.cancelled)
    )
    for state in sorted(FINAL)
}


def create_command_counters(tx: Transaction, command_id: int) -> None:
    """Makes the rows that a new command is counted in."""
    rows = [{"command_id": command_id, "state": str(state), "jobs": 0} for state in JobState]
    _NEW.run_many(tx, rows)


def write_changes(tx: Transaction) -> list[int]:
    """Answers the batches of which nothing is left to do."""
    if tx.job_count_changes:
        rows = [
            {"command": command, "was": state, "more": more}
            for (command, state), more in tx.job_count_changes.items()
            if more
        ]
        _ADD.run_many(tx, rows)
        tx.job_count_changes.clear()
    completed = []
    for (batch, state), more in tx.batch_count_changes.items():
        left = _OVER[JobState(state)].run(tx, batch=batch, more=more)
        if left and left[0][0] == 0:
            completed.append(batch)
    tx.batch_count_changes.clear()
    return completed
