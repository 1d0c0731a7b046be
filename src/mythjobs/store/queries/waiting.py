"""How many jobs of each command wait."""

from __future__ import annotations

from sqlalchemy import select

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, Transaction, word

_WAITING = Statement(
    select(t.tally.c.command_id, t.tally.c.jobs).where(
        t.tally.c.state == word(JobState.QUEUED), t.tally.c.jobs > 0
    )
)


def waiting(tx: Transaction) -> dict[int, int]:
    """Queued jobs by command, as of the last commit; commands without any are left out."""
    return {row[0]: row[1] for row in _WAITING.run(tx)}
