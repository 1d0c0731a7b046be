"""Evaluation of schedules in a turn: submits the jobs of due ticks, records what became of each
tick."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mythjobs.clock import Now
from mythjobs.master.isolation import Unit
from mythjobs.master.schedule_state import Gap, ScheduleState
from mythjobs.master.schedules import settlement
from mythjobs.master.schedules.incidents import check_late, record_missed, report_unusable
from mythjobs.master.schedules.tick_log import TickLog
from mythjobs.master.schedules.tick_submit import submit_tick
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.schedule import Schedule
from mythjobs.model.tick import (
    GAP_SENTENCES,
    GapCause,
    TickOutcome,
)
from mythjobs.scheduler.catch_up import (
    TickDecision,
    decide_due,
    find_gap_cause,
    is_clock_set,
)
from mythjobs.scheduler.ticks import (
    MAX_EXAMINED,
    DueTicks,
    Tick,
    count_ticks,
    list_due,
    next_tick_ms,
)
from mythjobs.store.writes import schedules, ticks

# Number of ticks that are always examined, because catch-up may include them.
_MIN_KEPT: Final = 1
# Maximum number of times that MAX_EXAMINED ticks are decided before a change.
_MAX_STEPS: Final = 100


def run_schedules(turn: TurnContext, *, all_open: bool) -> None:
    """Settle ended jobs of schedules, and evaluate the schedules that are due.

    all_open: look at all jobs of schedules that had not ended, because some may have ended in
    another turn.
    """
    now, clocks = turn.now, turn.state.schedule_clocks
    turn.state.schedule_clocks = now
    is_first = clocks is None
    was_set = clocks is not None and is_clock_set(
        now.wall_ms - clocks.wall_ms, now.run_ms - clocks.run_ms
    )
    if turn.state.set_aside:
        _skip_set_aside(turn)
    settlement.settle_ended(turn, all_open=all_open or is_first)
    next_ms = turn.state.schedules.due_ms
    if not (is_first or was_set) and (next_ms is None or next_ms > now.wall_ms):
        return
    for each in list(turn.state.schedules.by_id.values()):
        due_ms = each.due_ms
        if was_set or is_first or (due_ms is not None and due_ms <= now.wall_ms):
            turn.working_on = Unit("schedule", each.schedule_id)
            _store_state(turn, _evaluate(turn, each, clocks))
            turn.working_on = None
    next_ms = turn.state.schedules.due_ms
    if next_ms is not None:
        turn.state.schedule_turn(next_ms)


def evaluate_before_change(turn: TurnContext, state: ScheduleState) -> ScheduleState:
    """Decide the ticks that are due when a user changes a schedule, as if the change came later.

    Such ticks have waited for a turn, or the master was not running. Return the new state.
    """
    for _ in range(_MAX_STEPS):
        if state.schedule is None or state.next_ms is None or state.next_ms > turn.now.wall_ms:
            break
        turn.working_on = Unit("schedule", state.schedule_id)
        state = _evaluate(turn, state, turn.state.schedule_clocks)
        turn.working_on = None
    _store_state(turn, state)
    return state


def _store_state(turn: TurnContext, state: ScheduleState) -> None:
    turn.state.schedules = turn.state.schedules.with_schedule(state)


def _skip_set_aside(turn: TurnContext) -> None:
    """Stop schedules at which a turn failed because of an internal error."""
    for unit, why in turn.state.set_aside.items():
        state = turn.state.schedules.by_id.get(unit.number) if unit.kind == "schedule" else None
        if state is not None and state.schedule is not None:
            error = f"internal error ({why.error}); the master's log has the traceback"
            state = replace(state, schedule=None, error=error, next_ms=None, open=())
            _store_state(turn, report_unusable(turn, state))


def _evaluate(turn: TurnContext, state: ScheduleState, clocks: Now | None) -> ScheduleState:
    schedule, now_ms = state.schedule, turn.now.wall_ms
    if schedule is None:
        return report_unusable(turn, state)
    state = check_late(turn, state)
    if state.cursor_ms > now_ms:
        state = _move_back(turn, state, schedule)
    if state.next_ms is not None and state.next_ms <= now_ms:
        state = _evaluate_due(turn, state, schedule, clocks)
    if state.is_paused and state.paused_until_ms is not None and state.paused_until_ms <= now_ms:
        schedules.set_pause(turn.tx, state.schedule_id, paused=False, until_ms=None, reason="")
        state = replace(state, is_paused=False, paused_until_ms=None, pause_reason="")
    return state


def _evaluate_due(
    turn: TurnContext, state: ScheduleState, schedule: Schedule, clocks: Now | None
) -> ScheduleState:
    now_ms = turn.now.wall_ms
    keep = max(schedule.at_most, _MIN_KEPT)
    due = list_due(
        schedule.when, state.zone, state.cursor_ms, now_ms, limit=MAX_EXAMINED, keep=keep
    )
    cursor_ms = due.ticks[-1].at_ms if due.ticks else due.last_ms
    log = TickLog(turn.tx, state.schedule_id, state.cursor_ms, cursor_ms)
    cause = _find_cause(turn, state, clocks)
    missed = _record_passed(state, due, log, cause)
    for each in _decide(state, schedule, due.ticks, now_ms, cause):
        if each.outcome is None:
            state = submit_tick(turn, state, schedule, each, log, cause)
        else:
            log.add_without_job(each.tick.at_ms, each.outcome, each.reason)
            if each.outcome is TickOutcome.MISSED:
                missed = _add_missed(missed, cause, each.tick.at_ms)
    log.write()
    schedules.set_cursors(turn.tx, [(state.schedule_id, cursor_ms)])
    if missed is not None and not due.more:
        caught_up = sum(each.tick_ms > missed.first_ms for each in state.open)
        record_missed(turn, state, missed, caught_up)
        missed = None
    next_ms = next_tick_ms(schedule.when, state.zone, cursor_ms)
    return replace(state, cursor_ms=cursor_ms, next_ms=next_ms, gap=missed)


def _find_cause(turn: TurnContext, state: ScheduleState, clocks: Now | None) -> GapCause:
    if state.gap is not None:
        return state.gap.cause
    if clocks is None:
        return GapCause.DOWN
    now = turn.now
    assert state.next_ms is not None
    return find_gap_cause(
        now.wall_ms - state.next_ms,
        now.wall_ms - clocks.wall_ms,
        now.boot_ms - clocks.boot_ms,
        now.run_ms - clocks.run_ms,
    )


def _record_passed(
    state: ScheduleState, due: DueTicks, log: TickLog, cause: GapCause
) -> Gap | None:
    """Record ticks that are too many to be examined. Return the missed ticks of the gap so far."""
    if not due.passed:
        return state.gap
    is_paused = _is_paused_at(state, due.last_ms)
    outcome = TickOutcome.PAUSED if is_paused else TickOutcome.MISSED
    reason = state.pause_reason if is_paused else GAP_SENTENCES[cause]
    log.add_without_job(due.first_ms, outcome, reason, last_ms=due.last_ms, count=due.passed)
    if is_paused:
        return state.gap
    gap = state.gap or Gap(cause, due.first_ms, due.last_ms, 0)
    return replace(gap, last_ms=due.last_ms, count=gap.count + due.passed)


def _add_missed(gap: Gap | None, cause: GapCause, at_ms: int) -> Gap:
    gap = gap or Gap(cause, at_ms, at_ms, 0)
    return replace(gap, last_ms=at_ms, count=gap.count + 1)


def _is_paused_at(state: ScheduleState, at_ms: int) -> bool:
    until_ms = state.paused_until_ms
    return state.is_paused and (until_ms is None or at_ms < until_ms)


def _decide(
    state: ScheduleState, schedule: Schedule, due: list[Tick], now_ms: int, cause: GapCause
) -> list[TickDecision]:
    paused = [each for each in due if _is_paused_at(state, each.at_ms)]
    reason = state.pause_reason
    return [
        *(TickDecision(each, TickOutcome.PAUSED, reason) for each in paused),
        *decide_due(schedule, due[len(paused) :], now_ms, cause),
    ]


def _move_back(turn: TurnContext, state: ScheduleState, schedule: Schedule) -> ScheduleState:
    """Move the cursor of a schedule to the present, because the clock was set back.

    Rows of ticks without a job that are in the future now are removed: the ticks come again.
    """
    now_ms = turn.now.wall_ms
    for row in ticks.read_last(turn.tx, state.schedule_id, now_ms, 100):
        if row.last_ms > now_ms:
            count, last_ms = count_ticks(schedule.when, state.zone, row.tick_ms, now_ms)
            ticks.extend(turn.tx, row._replace(last_ms=last_ms, ticks=count))
    for row in ticks.read_between(turn.tx, state.schedule_id, now_ms + 1, state.cursor_ms):
        if row.job_id is None:
            ticks.remove(turn.tx, row)
    schedules.set_cursors(turn.tx, [(state.schedule_id, now_ms)])
    next_ms = next_tick_ms(schedule.when, state.zone, now_ms)
    return replace(state, cursor_ms=now_ms, next_ms=next_ms, gap=None)
