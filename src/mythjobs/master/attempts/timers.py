"""Wall-clock timers: start times and deadlines of jobs, ends of deferrals and of pauses."""

from __future__ import annotations

from mythjobs.master.attempts.job_incidents import record_missed_deadlines
from mythjobs.master.attempts.machine_control import end_pauses
from mythjobs.master.isolation import OwnWork, Unit
from mythjobs.master.turn_context import TurnContext
from mythjobs.store.writes import commands, deadlines, readiness

# Maximum number of jobs whose timers fire in one turn, to keep turns short; the timers of further
# jobs fire in the next turn.
_MAX_JOBS = 250


def run_due(turn: TurnContext, work: OwnWork = OwnWork.TIMERS) -> None:
    """Fire the timers whose time has come, and set the time at which the next timer fires.

    work: kinds of timers to fire. Unless all kinds are given, the time of the next timer is left
    unchanged, because timers of the other kinds may have to fire first.
    """
    now_ms = turn.now.wall_ms
    more = False
    if work & OwnWork.DUE_JOBS:
        turn.recheck(readiness.refresh(turn.tx, readiness.clear_due(turn.tx, now_ms, _MAX_JOBS)))
    if work & OwnWork.DEADLINES:
        more = _cancel_past_deadline(turn, now_ms, each_alone=work == OwnWork.DEADLINES)
    if work & OwnWork.DEFERRALS:
        _end_deferrals(turn, now_ms)
        end_pauses(turn)
    if not OwnWork.TIMERS & ~work:
        _set_next_due(turn, now_ms, more=more)


def _set_next_due(turn: TurnContext, now_ms: int, *, more: bool) -> None:
    turn.state.next_due_ms = min(
        (
            each
            for each in (
                readiness.find_next_due_ms(turn.tx),
                now_ms if more else deadlines.find_next_ms(turn.tx, now_ms),
                *(deferral.until_ms for deferral in turn.state.deferrals.values()),
                *(each.control.until_ms for each in turn.state.machines.values()),
                turn.state.notify.next_due_ms,
                turn.state.schedules.due_ms,
            )
            if each is not None
        ),
        default=None,
    )


def _cancel_past_deadline(turn: TurnContext, now_ms: int, *, each_alone: bool) -> bool:
    """Cancel queued jobs whose deadline has passed. Return whether more such jobs may be left.

    each_alone: cancel the jobs one by one, so that the job that causes an internal error is found.
    """
    skipped = {unit.number for unit in turn.state.set_aside if unit.kind == "deadline"}
    limit = _MAX_JOBS + len(skipped)
    missed = deadlines.find_missed(turn.tx, now_ms, limit)
    late = [each for each in missed if each not in skipped]
    for job_ids in [[each] for each in late] if each_alone else [late]:
        turn.working_on = Unit("deadline", job_ids[0]) if each_alone else None
        cancelled = turn.cancel_queued(
            job_ids, lambda _: "the job had not started by its deadline", code="deadline_passed"
        )
        record_missed_deadlines(turn, cancelled)
    turn.working_on = None
    return len(missed) == limit


def _end_deferrals(turn: TurnContext, now_ms: int) -> None:
    deferrals = turn.state.deferrals
    expired = [each for each, deferral in deferrals.items() if deferral.until_ms <= now_ms]
    for command_id in expired:
        del deferrals[command_id]
        commands.put_off(turn.tx, command_id, None, "")
    if expired:
        turn.recheck(readiness.read_ready_classes(turn.tx))
