"""Explanation of leased and running jobs: their machine, their state there, their expected end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.attempts import lease_expiry
from mythjobs.master.machine import PRESSURE_HOLDER, LiveAttempt, Machine
from mythjobs.master.state import MasterState
from mythjobs.model.command import RUN
from mythjobs.model.machine_control import MACHINE_HOLDER
from mythjobs.model.progress_track import ProgressTrack, estimate_percent
from mythjobs.protocol.messages import USER_HOLDER
from mythjobs.scheduler.forecast import ExpectedTimes
from mythjobs.store.queries import statistics
from mythjobs.store.transaction import Transaction

# Least reported percentage that an estimate follows where the usual run time is known.
_MIN_PERCENT: Final = 1.0
# A job that seems to run for years, because the clock was set, would end after the year 9999.
_MAX_LEFT_MS: Final = 10 * 365 * 86_400_000


# By holder of a freeze: until when a job stays frozen. A pause of its machine has its own sentence.
_FREEZE_CAUSES: Final = {
    USER_HOLDER: "until `mythjobs resume {job}`",
    "window": "until its run window opens",
    PRESSURE_HOLDER: "while other programs need the machine",
}


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
        if MACHINE_HOLDER in attempt.frozen_by and machine.control.is_paused:
            zone = machine.policy.zone or machine.zone
            paused = machine.control.describe_pause(now.wall_ms, zone)
            return "frozen", f"frozen on {machine.name}, which {paused}"
        causes = [_FREEZE_CAUSES.get(each, f"by {each}") for each in attempt.frozen_by]
        causes = [each.format(job=job_id) for each in causes]
        return "frozen", f"frozen on {machine.name} {' and '.join(causes)}"
    return job_state, f"{job_state} on {machine.name}"


def find_reported_end_ms(attempt: LiveAttempt, now_ms: int) -> int | None:
    """Return when the attempt's program expects to end, by its last `eta`.

    Return None if the program reported no time, if that time has passed, or while the attempt is
    frozen.
    """
    end_ms = attempt.progress.end_ms if attempt.progress else None
    return None if end_ms is None or end_ms <= now_ms or attempt.frozen_by else end_ms


class Estimate(NamedTuple):
    """Progress and end of an attempt that its program has not reported; None where unknown."""

    percent: float | None = None
    end_ms: int | None = None


def estimate_progress(attempt: LiveAttempt, usual_s: float | None, now: Now) -> Estimate:
    """Estimate what an attempt's program has not reported: the end by its progress, else progress
    and end by the usual run time, if the attempt has not yet run longer than that."""
    if attempt.started_ms is None:
        return Estimate()
    track = attempt.progress or ProgressTrack()
    elapsed_ms = max(now.wall_ms - attempt.started_ms, 0)
    reported = track.samples[-1].percent if track.samples else None
    left_ms: float | None = None
    percent = None
    if reported is not None and (reported >= _MIN_PERCENT or usual_s is None):
        left_ms = track.estimate_left_ms(elapsed_ms, now.steady_ms)
    elif usual_s is not None:
        run_ms = track.compute_run_ms(elapsed_ms, now.steady_ms)
        percent = estimate_percent(run_ms, 1000 * usual_s) if reported is None else None
        left_ms = 1000 * usual_s - run_ms if run_ms < 1000 * usual_s else None
    is_known = left_ms is not None and not attempt.frozen_by
    if is_known and find_reported_end_ms(attempt, now.wall_ms) is None:
        return Estimate(percent, now.wall_ms + round(min(left_ms or 0, _MAX_LEFT_MS)))
    return Estimate(percent)


class UsualTimes:
    """Finds the usual run time of live jobs, for one request."""

    def __init__(self, tx: Transaction, state: MasterState) -> None:
        self._tx = tx
        self._state = state
        self._of_programs: dict[tuple[str, ...], float] | None = None

    def find_s(self, page: Mapping[str, Any], live: LiveJob) -> float | None:
        """Return the usual run time of a job's command on its machine, in seconds; of an ad-hoc
        run that of its program with the same arguments, anywhere. None if it is unknown."""
        if page["command"] != RUN:
            return self._state.typical_s(live.attempt.command_id, live.machine.machine_id)
        if self._of_programs is None:
            self._of_programs = statistics.read_run_times(self._tx, live.attempt.command_id)
        return self._of_programs.get(tuple(page["arguments"].get("argv") or ()))


def find_expected_end_ms(attempt: LiveAttempt, usual_s: float | None, now: Now) -> int | None:
    """Return when a started attempt is expected to end: as its program reports, by its progress, or
    by the usual run time of the command. Return None if none is known."""
    reported_ms = find_reported_end_ms(attempt, now.wall_ms)
    if reported_ms is not None:
        return reported_ms
    end_ms = estimate_progress(attempt, usual_s, now).end_ms
    if end_ms is None and usual_s is not None and attempt.started_ms is not None:
        end_ms = attempt.started_ms + round(1000 * usual_s)
    return end_ms


def forecast_live_job(
    state: MasterState, job_id: int, now: Now
) -> tuple[ExpectedTimes | None, bool]:
    """Return start and expected end of a running job, and whether its program reported that end.

    Return None if no end is known, or the job is frozen or not running.
    """
    found = find_live_job(state, job_id)
    if found is None or found.attempt.started_ms is None or found.attempt.frozen_by:
        return None, False
    usual_s = state.typical_s(found.attempt.command_id, found.machine.machine_id)
    end_ms = find_expected_end_ms(found.attempt, usual_s, now)
    if end_ms is None:
        return None, False
    is_reported = find_reported_end_ms(found.attempt, now.wall_ms) is not None
    return ExpectedTimes(found.attempt.started_ms, end_ms), is_reported
