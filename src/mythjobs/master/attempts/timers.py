"""Wall-clock timers: start times and deadlines of jobs, ends of command deferrals."""

from __future__ import annotations

from mythjobs.master.turn_context import TurnContext
from mythjobs.store.writes import commands, deadlines, readiness

# Jobs per turn, which must stay short. The next turn handles the rest.
_MAX_JOBS = 500


def run_due(turn: TurnContext) -> None:
    """Fire the timers that are due, and set the time of the next one."""
    now_ms = turn.now.wall_ms
    turn.recheck(readiness.refresh(turn.tx, readiness.clear_due(turn.tx, now_ms, _MAX_JOBS)))
    more = _cancel_past_deadline(turn, now_ms)
    _end_deferrals(turn, now_ms)
    turn.state.next_due_ms = min(
        (
            each
            for each in (
                readiness.find_next_due_ms(turn.tx),
                now_ms if more else deadlines.find_next_ms(turn.tx, now_ms),
                *(deferral.until_ms for deferral in turn.state.deferrals.values()),
            )
            if each is not None
        ),
        default=None,
    )


def _cancel_past_deadline(turn: TurnContext, now_ms: int) -> bool:
    """Cancel queued jobs whose deadline has passed. Return whether there may be more."""
    missed = deadlines.find_missed(turn.tx, now_ms, _MAX_JOBS)
    if missed:
        turn.cancel_queued(
            missed, lambda _: "the job had not started by its deadline", code="deadline_passed"
        )
    return len(missed) == _MAX_JOBS


def _end_deferrals(turn: TurnContext, now_ms: int) -> None:
    deferrals = turn.state.deferrals
    expired = [each for each, deferral in deferrals.items() if deferral.until_ms <= now_ms]
    for command_id in expired:
        del deferrals[command_id]
        commands.put_off(turn.tx, command_id, None, "")
    if expired:
        turn.recheck(readiness.read_ready_classes(turn.tx))
