"""Preparation of a restored store: unfinished jobs are held, ids are never reused."""

from __future__ import annotations

from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts.completion import Completions
from mythjobs.master.catalog import Catalog
from mythjobs.master.state import load_state
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.outcome import Lost
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, id_recovery

_WHY: Final = "the store was restored from a backup"
_HELD: Final = f"held: {_WHY}, so the job may have run since; `mythjobs release` runs it"
_SLICE_JOBS: Final = 5000


class RestoreResult(NamedTuple):
    """Number of jobs held, and the id of the next new job."""

    held: int
    next_job_id: int


def prepare_restored_store(
    tx: Transaction, now: Now, used: id_recovery.RestoredIds | None
) -> RestoreResult:
    """Hold all unfinished jobs, because they may have run or ended since the backup.

    The next attempt of each has a number above all that machines may know. A machine that still
    runs an older attempt is told to stop it.

    used: ids of the replaced store. Attempts that are live there too go on. None: the replaced
    store is lost.
    """
    live = frozenset[tuple[int, int]]() if used is None else used.live
    batches.drop_unopened(tx)
    turn = TurnContext(tx, now, load_state(tx, now), Catalog())
    while (work := batches.find_next_upkeep(tx)) is not None:
        batches.run_upkeep_slice(tx, work, _SLICE_JOBS)
    completions = Completions(turn)
    for machine in turn.state.machines.values():
        for job_id, attempt in sorted(machine.live_attempts.items()):
            if (job_id, attempt.n) not in live:
                completions.record_loss(machine, job_id, Lost(_WHY), "presumed: restored")
    completions.write()
    turn.flush()
    held = id_recovery.hold_queued(tx, _HELD)
    return RestoreResult(held, id_recovery.raise_ids(tx, used))
