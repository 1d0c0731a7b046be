"""What a store begins with after it was put back to an earlier state: nothing runs by itself."""

from __future__ import annotations

from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts.completion import Ends
from mythjobs.master.catalog import Book
from mythjobs.master.state import recall
from mythjobs.master.turn_context import Turn
from mythjobs.model.outcome import Lost
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import batches, id_recovery

_WHY: Final = "the store was put back to an earlier state"
_HELD: Final = f"held: {_WHY}, so it may have run since; `mythjobs release` lets it run"
_SLICE_JOBS: Final = 5000


class Begun(NamedTuple):
    """How many jobs are held now, and the number of the next new one."""

    held: int
    next_job_id: int


def begin_again(tx: Transaction, now: Now, used: id_recovery.Later | None) -> Begun:
    """What was not over then may be over by now, or run: each such job is held for a person, and
    its next attempt has a number above all that machines may know. What they still run of it
    they are told to stop when they come.

    `used` is the store that was in use until now; what runs by its word as well goes on. With
    None nothing is known of it.
    """
    runs = frozenset[tuple[int, int]]() if used is None else used.live
    batches.drop_unopened(tx)
    turn = Turn(tx, now, recall(tx, now), Book())
    while (work := batches.next_upkeep(tx)) is not None:
        batches.open_slice(tx, work, _SLICE_JOBS)
    ends = Ends(turn)
    for machine in turn.memory.machines.values():
        for job_id, live in sorted(machine.live.items()):
            if (job_id, live.n) not in runs:
                ends.lost(machine, job_id, Lost(_WHY), "presumed: restored")
    ends.write()
    turn.finish()
    held = id_recovery.hold_queued(tx, _HELD)
    return Begun(held, id_recovery.rise(tx, used))
