"""Duty cycle: slows down the only heavy stream of a disk while it keeps other programs waiting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from mythjobs.agent.scaling.counters import JobKey
from mythjobs.agent.scaling.disk_state import HEAVY_SHARE, DiskState
from mythjobs.agent.scaling.running_job import Demand, RunningJob

# Other programs are disturbed if they wait for disks for more than this share of the time, in
# this many periods in a row.
_MAX_STALLED: Final = 0.1
_DISTURBED_PERIODS: Final = 5
_GAIN: Final = 0.3
# After this many cycles the two halves are compared. If others wait nearly as long while the job is
# frozen, it is not the cause: the cycle ends and is not tried again for a while.
_TRIAL_CYCLES: Final = 5
_UNCHANGED: Final = 0.7
_FIRST_PAUSE_S: Final = 60.0
_MAX_PAUSE_S: Final = 3600.0


class _Stream(NamedTuple):
    job: RunningJob
    disk: str


class DutyChange(NamedTuple):
    """The job is to be frozen (`on`) or thawed. reason: for people, at the first freeze and when
    the cycle ends, else empty."""

    job: RunningJob
    on: bool
    reason: str = ""


@dataclass(slots=True)
class _Cycle:
    """The cycle of one job. on, off: share of the time that others wait while it runs, and while it
    is frozen (means). is_off: it is frozen now."""

    key: JobKey
    on: float
    off: float = 0.0
    count: int = 0
    is_off: bool = True


class DutyCycle:
    """Lets the only heavy stream of a disk run in every other period.

    In its frozen period it may be that no job runs, which is never so otherwise.
    """

    def __init__(self) -> None:
        self._cycle: _Cycle | None = None
        self._candidate: JobKey | None = None
        self._disturbed_periods = 0
        self._failures = 0
        self._pause_until_s = float("-inf")

    @property
    def has_candidate(self) -> bool:
        """Whether the next decision depends on how long other programs wait."""
        return self._candidate is not None

    def is_off(self, key: JobKey) -> bool:
        """Return whether the job is in its frozen period, which the next decide() ends."""
        return self._cycle is not None and self._cycle.is_off and self._cycle.key == key

    def decide(
        self,
        jobs: Collection[RunningJob],
        demands: Mapping[JobKey, Demand],
        disks: Mapping[str, DiskState],
        stalled: float | None,
        now_s: float,
    ) -> DutyChange | None:
        """Return the job to freeze or to thaw; None if nothing changes.

        stalled: share of the last period in which other programs waited for disks, None if unknown.
        """
        share = stalled or 0.0
        cycle = self._cycle
        if cycle is not None and cycle.is_off:
            cycle.is_off = False
            cycle.off += _GAIN * (share - cycle.off)
            job = next((each for each in jobs if each.key == cycle.key), None)
            if job is not None and job.is_frozen:
                return DutyChange(job, False)
        found = _find_stream(jobs, demands, disks)
        key = None if found is None else found.job.key
        if found is None or key != self._candidate:
            self._candidate, self._cycle, self._disturbed_periods = key, None, 0
            return None
        if cycle is not None:
            return self._continue(cycle, found, share, now_s)
        self._disturbed_periods = self._disturbed_periods + 1 if share > _MAX_STALLED else 0
        if self._disturbed_periods < _DISTURBED_PERIODS or now_s < self._pause_until_s:
            return None
        self._disturbed_periods = 0
        self._cycle = _Cycle(found.job.key, share)
        reason = f"other programs wait for disk {found.disk}; it runs every other second from now"
        return DutyChange(found.job, True, reason)

    def _continue(
        self, cycle: _Cycle, found: _Stream, share: float, now_s: float
    ) -> DutyChange | None:
        cycle.on += _GAIN * (share - cycle.on)
        cycle.count += 1
        if cycle.on < _MAX_STALLED:
            self._cycle, self._failures = None, 0
            return DutyChange(found.job, False, "other programs do not wait for disks any more")
        if cycle.count >= _TRIAL_CYCLES and cycle.off > _UNCHANGED * cycle.on:
            self._cycle = None
            self._pause_until_s = now_s + min(_FIRST_PAUSE_S * 2**self._failures, _MAX_PAUSE_S)
            self._failures += 1
            return DutyChange(found.job, False, "other programs wait for disks without it, too")
        cycle.is_off = True
        return DutyChange(found.job, True)


def _find_stream(
    jobs: Collection[RunningJob],
    demands: Mapping[JobKey, Demand],
    disks: Mapping[str, DiskState],
) -> _Stream | None:
    """Return the only heavy stream of a disk that other programs use; None if there is none."""
    for disk, state in disks.items():
        if state.has_foreign_load:
            heavy = [
                each
                for each in jobs
                if each.is_active and demands[each.key].disks.get(disk, 0.0) >= HEAVY_SHARE
            ]
            if len(heavy) == 1:
                return _Stream(heavy[0], disk)
    return None
