"""Watch: finds lost and returned machines, and attempts that run longer than usual. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mythjobs.clock import Now
from mythjobs.master.machine import LiveAttempt, Machine
from mythjobs.master.notify.requests import ConditionsFound, SlowAttempt
from mythjobs.master.state import MIN_RUNS, MasterState

# Silence after which a machine is lost, and after which one is lost that another one is lost with:
# machines that one cause separates from the master lose their connections within seconds.
LOST_AFTER_MS: Final = 180_000
_LOST_WITH_MS: Final = 60_000
# An attempt is slow if it runs both this much longer than usual, as a factor and as a difference.
_SLOW_FACTOR: Final = 2.0
_SLOW_EXTRA_S: Final = 600.0


def find_conditions(
    state: MasterState, now: Now, started_ms: int, reported: Collection[tuple[int, int]]
) -> ConditionsFound:
    """Return what has changed since the last call.

    started_ms: start of the master (monotonic clock). reported: (job, attempt number) of attempts
    that were found to be slow before.
    """
    open_losses = {
        each.subject
        for each in state.notify.known.values()
        if each.kind == "lost" and each.ended_ms is None and each.calm_ms is None
    }
    silent = {
        each.machine_id: now.steady_ms - max(each.last_frame_ms, started_ms)
        for each in state.machines.values()
        if is_expected(each) and f"machine {each.machine_id}" not in open_losses
    }
    is_any_lost = any(each >= LOST_AFTER_MS for each in silent.values())
    least_ms = _LOST_WITH_MS if is_any_lost else LOST_AFTER_MS
    return ConditionsFound(
        [machine_id for machine_id, silent_ms in silent.items() if silent_ms >= least_ms],
        [
            each.machine_id
            for each in state.machines.values()
            if each.heartbeat_no > 0 and f"machine {each.machine_id}" in open_losses
        ],
        _find_slow(state, now, reported),
    )


def is_expected(machine: Machine) -> bool:
    """Return whether a machine should be connected, but is not.

    A machine without jobs is not expected if it has left, if a user has drained it, or if it has
    not connected since the master's start.
    """
    if machine.connection is not None or machine.is_revoked:
        return False
    if machine.live_attempts:
        return True
    is_away = machine.has_left or machine.control.is_drained
    return machine.last_frame_ms > 0 and not is_away


def _find_slow(
    state: MasterState, now: Now, reported: Collection[tuple[int, int]]
) -> list[SlowAttempt]:
    found = []
    for machine in state.machines.values():
        if not machine.heartbeat_no:
            continue
        for job_id, attempt in machine.live_attempts.items():
            runs, mean_us = state.run_times.get((attempt.command_id, machine.machine_id), (0, 0))
            elapsed_s = _find_elapsed_s(attempt, now)
            usual_s = mean_us / 1e6
            limit_s = max(_SLOW_FACTOR * usual_s, usual_s + _SLOW_EXTRA_S)
            if runs >= MIN_RUNS and elapsed_s > limit_s and (job_id, attempt.n) not in reported:
                found.append(SlowAttempt(machine.machine_id, job_id, attempt.n, elapsed_s, usual_s))
    return found


def _find_elapsed_s(attempt: LiveAttempt, now: Now) -> float:
    """Return for how long an attempt has run, without the time for which it was frozen."""
    if attempt.started_ms is None:
        return 0.0
    elapsed_ms = now.wall_ms - attempt.started_ms
    if attempt.progress is not None:
        elapsed_ms -= attempt.progress.frozen_ms
        if attempt.progress.frozen_since_ms is not None:
            elapsed_ms -= now.steady_ms - attempt.progress.frozen_since_ms
    return elapsed_ms / 1000
