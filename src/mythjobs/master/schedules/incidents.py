"""Incidents of schedules: missed and refused ticks, late jobs, schedules that drift."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from mythjobs.master.explain.job import explain_job
from mythjobs.master.schedule_state import Gap, ScheduleState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.incident import Incident
from mythjobs.model.tick import GAP_SENTENCES
from mythjobs.model.zone import format_local_time
from mythjobs.scheduler.cadence import Cadence
from mythjobs.store.writes import ticks

_WINDOW_CLOSED: Final = "window_closed"
_REPORTED_AGAIN_MS: Final = 86_400_000
# Time after the expected end of a wait for a run window, until the job is looked at again.
_CHECKED_AGAIN_MS: Final = 600_000


def _add(
    turn: TurnContext,
    state: ScheduleState,
    kind: Literal["missed", "late", "drifting"],
    detail: str,
    job: int | None = None,
) -> None:
    subject = f"schedule {state.schedule_id}"
    turn.incidents.append(Incident(kind, subject, state.name, detail, state.command, job))


def record_missed(turn: TurnContext, state: ScheduleState, gap: Gap, caught_up: int) -> None:
    """Record missed ticks, once for each gap. caught_up: number of jobs that make up for some."""
    now_ms = turn.now.wall_ms
    first = format_local_time(gap.first_ms, now_ms, state.zone)
    last = format_local_time(gap.last_ms, now_ms, state.zone)
    if gap.count == 1:
        what = f"the run of {first} was missed"
    else:
        what = f"{gap.count} runs were missed, from {first} to {last}"
    later = ", a later one runs now" if caught_up else ""
    _add(turn, state, "missed", f"{what}{later}: {GAP_SENTENCES[gap.cause]}")


def record_refused(turn: TurnContext, state: ScheduleState, sentence: str) -> None:
    _add(turn, state, "missed", f"cannot submit a job: {sentence}")


def report_unusable(turn: TurnContext, state: ScheduleState) -> ScheduleState:
    """Record, once a day, that a schedule submits no jobs, because its definition cannot be used.

    Its ticks are unknown, so none of them can be recorded as missed. Return the new state.
    """
    now_ms, report_ms = turn.now.wall_ms, state.report_ms
    if report_ms is not None and now_ms < report_ms <= now_ms + _REPORTED_AGAIN_MS:
        return state
    _add(turn, state, "missed", f"no jobs are submitted: {state.error}")
    return replace(state, report_ms=now_ms + _REPORTED_AGAIN_MS)


def record_late(turn: TurnContext, state: ScheduleState, job_id: int, tick_ms: int) -> None:
    when = format_local_time(tick_ms, turn.now.wall_ms, state.zone)
    detail = f"job {job_id} of {when} has not started; see `mythjobs why {job_id}`"
    _add(turn, state, "late", detail, job_id)


def record_drift(turn: TurnContext, state: ScheduleState, cadence: Cadence) -> None:
    _add(turn, state, "drifting", f"asks for a run {cadence.describe()}")


def check_late(turn: TurnContext, state: ScheduleState) -> ScheduleState:
    """Record the jobs of a schedule that are late now. Return the new state.

    A job that waits for a run window is not late: its owner decided when it may run.
    """
    now_ms = turn.now.wall_ms
    due = [each for each in state.open if each.late_ms is not None and each.late_ms <= now_ms]
    if not due:
        return state
    turn.flush_new_jobs()
    started = ticks.find_started(turn.tx, [each.job_id for each in due])
    checked: dict[int, int | None] = {}
    for each in due:
        checked[each.job_id] = None
        if each.job_id in started:
            continue
        why = explain_job(turn.tx, turn.state, each.job_id, turn.now)
        if why["code"] == _WINDOW_CLOSED:
            checked[each.job_id] = max(now_ms, why["expected_start_ms"] or 0) + _CHECKED_AGAIN_MS
        else:
            record_late(turn, state, each.job_id, each.tick_ms)
    still_open = tuple(
        each._replace(late_ms=checked.get(each.job_id, each.late_ms)) for each in state.open
    )
    return replace(state, open=still_open)
