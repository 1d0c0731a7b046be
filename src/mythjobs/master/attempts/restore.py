"""Preparation of a store restored from a backup: holds unfinished jobs, skips ids used since."""

from __future__ import annotations

from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts.completion import Completions
from mythjobs.master.catalog import Catalog
from mythjobs.master.state import load_state
from mythjobs.master.turn_context import TurnContext
from mythjobs.master.upkeep import run_slice
from mythjobs.model.outcome import Lost
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, id_recovery, upkeep

_WHY: Final = "the store was restored from a backup"
_HELD: Final = f"held: {_WHY}, so the job may have run since; `mythjobs release` runs it"


class RestoreResult(NamedTuple):
    """Result of preparing a restored store: number of jobs held, id of the next new job."""

    held: int
    next_job_id: int


def prepare_restored_store(
    tx: Transaction, now: Now, used: id_recovery.RestoredIds | None
) -> RestoreResult:
    """Hold all unfinished jobs of a restored store: they may have run or ended since the backup.

    Their next attempts get numbers above every number that a machine may know, so that a machine
    that still runs an older attempt is told to stop it.

    used: ids and live attempts of the store that the backup replaces, or None if that store is
    lost. An attempt that is live in both stores continues.
    """
    live = frozenset[tuple[int, int]]() if used is None else used.live
    batches.drop_unopened(tx)
    turn = TurnContext(tx, now, load_state(tx, now), Catalog())
    while (work := upkeep.find_next(tx)) is not None:
        turn.resolved = 0
        run_slice(turn, work)
    completions = Completions(turn)
    for machine in turn.state.machines.values():
        for job_id, attempt in sorted(machine.live_attempts.items()):
            if (job_id, attempt.n) not in live:
                completions.record_loss(machine, job_id, Lost(_WHY), "presumed: restored")
    completions.write()
    turn.flush()
    held = id_recovery.hold_queued(tx, _HELD)
    return RestoreResult(held, id_recovery.raise_ids(tx, used))
