"""Explanation of leased and running jobs: their machine, their state there, their expected end."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts import lease_expiry
from mythjobs.master.state import LiveAttempt, Machine, MasterState
from mythjobs.scheduler.forecast import ExpectedTimes


class LiveJob(NamedTuple):
    machine: Machine
    attempt: LiveAttempt


def find_live_job(state: MasterState, job_id: int) -> LiveJob | None:
    """Return the machine and the attempt of a job that is leased or running."""
    for each in state.machines.values():
        if (attempt := each.live_attempts.get(job_id)) is not None:
            return LiveJob(each, attempt)
    return None


def describe_live_job(state: MasterState, job_state: str, job_id: int, now: Now) -> tuple[str, str]:
    """Describe a leased or running job as a reason code and a sentence."""
    found = find_live_job(state, job_id)
    if found is None:
        return job_state, f"{job_state} on a machine"
    machine, attempt = found
    if silent := lease_expiry.describe_silence(machine, attempt, now):
        return "silent", f"{job_state} on {machine.name}, {silent}"
    if attempt.frozen_by:
        return "frozen", f"frozen on {machine.name} by {', '.join(attempt.frozen_by)}"
    return job_state, f"{job_state} on {machine.name}"


def find_reported_end_ms(attempt: LiveAttempt, now_ms: int) -> int | None:
    """Return when the attempt's program expects to end, by its last `eta`.

    Return None if the program reported no time, if that time has passed, or while the attempt is
    frozen.
    """
    eta_ms = attempt.eta_ms
    return None if eta_ms is None or eta_ms <= now_ms or attempt.frozen_by else eta_ms


def forecast_live_job(
    state: MasterState, job_id: int, now_ms: int
) -> tuple[ExpectedTimes | None, bool]:
    """Return start and expected end of a running job, and whether its program reported that end.

    If the program did not, the end follows from the usual run time of the command. Return None if
    no run time is known, or the job is frozen or not running.
    """
    found = find_live_job(state, job_id)
    if found is None or found.attempt.started_ms is None or found.attempt.frozen_by:
        return None, False
    machine, attempt = found
    started_ms = found.attempt.started_ms
    end_ms = find_reported_end_ms(attempt, now_ms)
    if end_ms is not None:
        return ExpectedTimes(started_ms, end_ms), True
    typical_s = state.typical_s(attempt.command_id, machine.machine_id)
    if typical_s is None:
        return None, False
    return ExpectedTimes(started_ms, started_ms + round(1000 * typical_s)), False
