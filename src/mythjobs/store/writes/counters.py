"""Writes what a transaction counted: jobs by command and state, and the ends of batches."""

from __future__ import annotations

from sqlalchemy import insert, update

from mythjobs.model.life import FINAL, JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, given

_ADD = Statement(
    update(t.tally)
    .where(t.tally.c.command_id == given("command"), t.tally.c.state == given("was"))
    .values(jobs=t.tally.c.jobs + given("more")),
    distinct=True,
)
_NEW = Statement(insert(t.tally), ("command_id", "state", "jobs"))
_OVER = {
    state: Statement(
        update(t.batch)
        .where(t.batch.c.batch_id == given("batch"))
        .values({state.value: t.batch.c[state.value] + given("more")})
        .returning(t.batch.c.jobs - t.batch.c.succeeded - t.batch.c.failed - t.batch.c.cancelled)
    )
    for state in sorted(FINAL)
}


def begin_command(tx: Transaction, command_id: int) -> None:
    """Makes the rows that a new command is counted in."""
    rows = [{"command_id": command_id, "state": str(state), "jobs": 0} for state in JobState]
    _NEW.run_many(tx, rows)


def write(tx: Transaction) -> list[int]:
    """Answers the batches of which nothing is left to do."""
    if tx.tally:
        rows = [
            {"command": command, "was": state, "more": more}
            for (command, state), more in tx.tally.items()
            if more
        ]
        _ADD.run_many(tx, rows)
        tx.tally.clear()
    completed = []
    for (batch, state), more in tx.over.items():
        left = _OVER[JobState(state)].run(tx, batch=batch, more=more)
        if left and left[0][0] == 0:
            completed.append(batch)
    tx.over.clear()
    return completed
