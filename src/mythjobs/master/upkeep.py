"""Upkeep: work on many rows, which a turn records in the store and later turns do in slices."""

from __future__ import annotations

from typing import Final

from mythjobs.master.isolation import Unit
from mythjobs.master.turn_context import MAX_RESOLVED, TurnContext
from mythjobs.model.life import JobState
from mythjobs.store.writes import batches, jobs, upkeep
from mythjobs.store.writes.upkeep import Upkeep, UpkeepKind

# Maximum number of a batch's jobs that one turn opens or deletes, as the turn also does all other
# work of the master.
SLICE_JOBS: Final = 500


def run_upkeep(turn: TurnContext) -> None:
    """Do the next slice of the oldest pending work that is not set aside."""
    if not turn.state.has_upkeep:
        return
    skipped = {unit.number for unit in turn.state.set_aside if unit.kind == "upkeep"}
    while (work := upkeep.find_next(turn.tx, skipped)) is not None:
        if work.kind == UpkeepKind.RESOLVE and turn.resolved >= MAX_RESOLVED:
            return
        turn.working_on = Unit("upkeep", work.upkeep_id)
        run_slice(turn, work)
        turn.working_on = None
        if work.kind != UpkeepKind.RESOLVE:
            return
    turn.state.has_upkeep = False


def run_slice(turn: TurnContext, work: Upkeep) -> None:
    match UpkeepKind(work.kind):
        case UpkeepKind.OPEN | UpkeepKind.OPEN_HELD:
            _open_jobs(turn, work)
        case UpkeepKind.DROP:
            batches.drop_slice(turn.tx, work, SLICE_JOBS)
        case UpkeepKind.RESOLVE:
            upkeep.remove(turn.tx, work)
            ended = jobs.read_flags(turn.tx, [work.last_job_id])
            turn.resolve_dependents({each: JobState(ended[each].state) for each in ended})


def _open_jobs(turn: TurnContext, work: Upkeep) -> None:
    for class_id, subject in batches.open_slice(turn.tx, work, SLICE_JOBS):
        turn.state.classes_to_recheck.add(class_id)
        # Run the timers soon: a job's start time or deadline may have passed before the batch was
        # opened.
        turn.state.schedule_turn(turn.now.wall_ms)
        if subject is not None:
            turn.changed_subjects.add(subject)
