"""What comes with time: jobs that are due, passed deadlines, commands no longer put off."""

from __future__ import annotations

from mythjobs.master.turn_context import Turn
from mythjobs.store.writes import commands, deadlines, readiness

# A turn stays short; what is left comes with the next one.
_MOST = 500


def come(turn: Turn) -> None:
    """Does what is due, and sets when the next is."""
    now_ms = turn.now.wall_ms
    turn.wake(readiness.refresh(turn.tx, readiness.due(turn.tx, now_ms, _MOST)))
    more = _deadlines(turn, now_ms)
    _put_off(turn, now_ms)
    turn.memory.next_due_ms = min(
        (
            each
            for each in (
                readiness.next_due_ms(turn.tx),
                now_ms if more else deadlines.next_ms(turn.tx, now_ms),
                *(put_off.until_ms for put_off in turn.memory.put_off.values()),
            )
            if each is not None
        ),
        default=None,
    )


def _deadlines(turn: Turn, now_ms: int) -> bool:
    """Whether there may be more of them."""
    passed = deadlines.passed(turn.tx, now_ms, _MOST)
    if passed:
        turn.cancel_queued(
            passed, lambda _: "it had not started by its deadline", code="deadline_passed"
        )
    return len(passed) == _MOST


def _put_off(turn: Turn, now_ms: int) -> None:
    over = [each for each, put_off in turn.memory.put_off.items() if put_off.until_ms <= now_ms]
    for command_id in over:
        del turn.memory.put_off[command_id]
        commands.put_off(turn.tx, command_id, None, "")
    if over:
        turn.wake(readiness.ready_classes(turn.tx))
