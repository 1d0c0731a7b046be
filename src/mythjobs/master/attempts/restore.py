"""Preparation of a store restored from a backup: holds unfinished jobs, skips ids and ticks used
since."""

from __future__ import annotations

from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts.completion import Completions
from mythjobs.master.catalog import Catalog
from mythjobs.master.schedule_state import load_schedules
from mythjobs.master.state import load_state
from mythjobs.master.turn_context import TurnContext
from mythjobs.master.upkeep import run_slice
from mythjobs.model.outcome import Lost
from mythjobs.model.tick import TickOutcome
from mythjobs.scheduler.ticks import count_ticks
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, channels, id_recovery, schedules, ticks, upkeep

_WHY: Final = "the store was restored from a backup"
_PASSED: Final = f"{_WHY}, so it may have run"
_HELD: Final = f"held: {_WHY}, so the job may have run since; `mythjobs release` runs it"


class RestoreResult(NamedTuple):
    """Result of preparing a restored store: number of jobs held, id of the next new job."""

    held: int
    next_job_id: int


def prepare_restored_store(
    tx: Transaction, now: Now, used: id_recovery.RestoredIds | None, zone: str = ""
) -> RestoreResult:
    """Hold all unfinished jobs of a restored store: they may have run or ended since the backup.

    Their next attempts get numbers above every number that a machine may know, so that a machine
    that still runs an older attempt is told to stop it.

    used: ids and live attempts of the store that the backup replaces, or None if that store is
    lost. An attempt that is live in both stores continues. zone: time zone of schedules that name
    none.
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
    _skip_ticks(tx, now.wall_ms, zone)
    channels.drop_messages(tx, _WHY)  # they were sent long ago, or are about the past
    held = id_recovery.hold_queued(tx, _HELD)
    return RestoreResult(held, id_recovery.raise_ids(tx, used))


def _skip_ticks(tx: Transaction, now_ms: int, zone: str) -> None:
    """Record the ticks of schedules since the backup as missed: they may have run. A user can
    backfill them."""
    for state in load_schedules(tx, zone, now_ms).by_id.values():
        if state.schedule is None or state.next_ms is None or state.next_ms > now_ms:
            continue
        count, last_ms = count_ticks(state.schedule.when, state.zone, state.next_ms, now_ms)
        row = ticks.TickRow(
            state.schedule_id, state.next_ms, 0, last_ms, count, TickOutcome.MISSED, _PASSED
        )
        ticks.add(tx, [row])
        schedules.set_cursors(tx, [(state.schedule_id, last_ms)])
