"""Freezing under pressure: which job is frozen, and which frozen job may continue. No job is
killed, and one job is always left running, or runs every other second (duty_cycle.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from mythjobs.agent.scaling.admission import Refusal
from mythjobs.agent.scaling.counters import JobKey
from mythjobs.agent.scaling.disk_state import HEAVY_SHARE, DiskState
from mythjobs.agent.scaling.duty_cycle import DutyCycle
from mythjobs.agent.scaling.running_job import Demand, RunningJob

_FIRST_BACKOFF_S: Final = 5.0
_MAX_BACKOFF_S: Final = 300.0
# A machine with idle cores lets a frozen job continue after this time, whatever its back-off.
_MIN_FROZEN_S: Final = 2.0
_MEMORY_INTERVAL_S: Final = 2.0
_THAW_INTERVAL_S: Final = 1.0
_MIN_CPU: Final = 0.5


class FreezeChange(NamedTuple):
    """The job is to be frozen (`on`) or thawed. reason: for people, empty if it was told before."""

    key: JobKey
    on: bool
    reason: str


class Pressure(NamedTuple):
    """What is wrong in this period. lost_disk: disk whose additional stream lowered the throughput,
    or "". foreign_stalled: share of the period in which other programs waited for disks, None if
    unknown."""

    is_memory_short: bool
    is_cpu_overloaded: bool
    lost_disk: str = ""
    foreign_stalled: float | None = None


class _Choice(NamedTuple):
    """The job to freeze, and why."""

    job: RunningJob
    reason: str


class Freezer:
    """Freezes the youngest job under pressure, and thaws the oldest one when it fits again."""

    def __init__(self) -> None:
        self._last_memory_freeze_s = float("-inf")
        self._last_thaw_s = float("-inf")
        self.duty_cycle = DutyCycle()

    def decide(
        self,
        jobs: Collection[RunningJob],
        demands: Mapping[JobKey, Demand],
        disks: Mapping[str, DiskState],
        pressure: Pressure,
        now_s: float,
    ) -> FreezeChange | None:
        """Freeze at most one job, or thaw that of the duty cycle; mark it, and return the change.
        None if there is none."""
        active = sorted((each for each in jobs if each.is_active), key=lambda each: each.started_s)
        found = None
        if len(active) > 1 and pressure.is_memory_short:
            if now_s - self._last_memory_freeze_s >= _MEMORY_INTERVAL_S:
                self._last_memory_freeze_s = now_s
                found = _Choice(active[-1], "memory is short")
        elif len(active) > 1:
            found = _find_disk_user(active, demands, disks, pressure.lost_disk)
            if found is None and pressure.is_cpu_overloaded:
                found = _find_cpu_user(active, demands)
        if found is not None:
            return _freeze(found, now_s)
        duty = self.duty_cycle.decide(jobs, demands, disks, pressure.foreign_stalled, now_s)
        if duty is None:
            return None
        duty.job.is_frozen, duty.job.frozen_s, duty.job.heavy_periods = duty.on, now_s, 0
        return FreezeChange(duty.job.key, duty.on, duty.reason)

    def find_thaw(
        self,
        jobs: Collection[RunningJob],
        demands: Mapping[JobKey, Demand],
        idle_cpu: float,
        cores: int,
        check: Callable[[RunningJob], Refusal | None],
        now_s: float,
    ) -> FreezeChange | None:
        """Thaw at most one job, mark it, and return the change; None if none may continue.

        check: returns why a frozen job does not fit beside the active ones, or None.
        """
        frozen = [e for e in jobs if e.is_frozen and not e.is_held]
        waiting = sorted(
            (each for each in frozen if not self.duty_cycle.is_off(each.key)),
            key=lambda each: each.started_s,
        )
        if not waiting or now_s - self._last_thaw_s < _THAW_INTERVAL_S:
            return None
        has_active = any(each.is_active for each in jobs)
        for job in waiting:
            is_idle = idle_cpu > min(demands[job.key].cpu, _MIN_CPU * cores)
            can_skip_backoff = is_idle and now_s - job.frozen_s >= _MIN_FROZEN_S
            if has_active and not can_skip_backoff and now_s < job.thaw_after_s:
                continue
            if not has_active or check(job) is None:
                self._last_thaw_s = now_s
                job.is_frozen = False
                return FreezeChange(job.key, False, "it fits again")
        return None


def _find_disk_user(
    active: Sequence[RunningJob],
    demands: Mapping[JobKey, Demand],
    disks: Mapping[str, DiskState],
    lost_disk: str,
) -> _Choice | None:
    """Return the youngest of several heavy streams of a disk that has too many of them."""
    for disk, state in disks.items():
        heavy = [e for e in active if demands[e.key].disks.get(disk, 0.0) >= HEAVY_SHARE]
        if len(heavy) > 1 and state.has_foreign_load:
            return _Choice(heavy[-1], f"other programs use disk {disk}")
        if len(heavy) > 1 and disk == lost_disk:
            return _Choice(heavy[-1], f"disk {disk} is faster with fewer streams")
    return None


def _find_cpu_user(
    active: Sequence[RunningJob], demands: Mapping[JobKey, Demand]
) -> _Choice | None:
    """Return the youngest of several jobs that keep cores busy."""
    busy = [each for each in active if demands[each.key].cpu >= _MIN_CPU]
    return _Choice(busy[-1], "other programs need the processor") if len(busy) > 1 else None


def _freeze(choice: _Choice, now_s: float) -> FreezeChange:
    job, reason = choice
    job.is_frozen, job.frozen_s = True, now_s
    job.backoff_s = min(max(2 * job.backoff_s, _FIRST_BACKOFF_S), _MAX_BACKOFF_S)
    job.thaw_after_s = now_s + job.backoff_s
    job.heavy_periods = 0
    return FreezeChange(job.key, True, reason)
