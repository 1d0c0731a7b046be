"""Scaling controller: decides how many and which jobs a machine can run at once. Pure: it reads
counters that its caller measured, and `now_s` is any clock that never steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from mythjobs.agent.scaling.admission import (
    CPU,
    GPU,
    MEMORY,
    Commitments,
    Refusal,
    Resources,
    assume_demand,
    find_refusal,
    memory_reserve_bytes,
)
from mythjobs.agent.scaling.counters import JobCounters, JobKey, MachineCounters
from mythjobs.agent.scaling.disk_state import HEAVY_SHARE, STEADY_PERIODS, DiskState
from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.agent.scaling.freezing import FreezeChange, Freezer, Pressure
from mythjobs.agent.scaling.machine_figures import MachineFigures, parse_machine_figures
from mythjobs.agent.scaling.processor import MemoryPressure, ProcessorState
from mythjobs.agent.scaling.running_job import SETTLED_S, Demand, DiskRate, RunningJob
from mythjobs.agent.scaling.short_jobs import ShortJobs

# Interval at which step() is to be called while jobs run.
PERIOD_S: Final = 1.0
# Samples closer together than this are too inexact.
_MIN_PERIOD_S: Final = 0.2
# A command that is unknown runs once even if the processor is full: its footprint must be learned.
_TRIAL_OVERCOMMIT: Final = 0.5
_MAX_ROOM: Final = 64


class ScalingController:
    """Decides by the learned footprints of the commands and by the load of the machine.

    The caller reports the start and end of each job, calls step() every PERIOD_S while jobs run,
    and carries out the freezes and thaws that step() returns. `footprints` is by command name.
    """

    def __init__(self, cores: int, memory_bytes: int) -> None:
        self.cores = cores
        self._memory_bytes = memory_bytes
        self._reserve_bytes = memory_reserve_bytes(memory_bytes)
        self.footprints: dict[str, Footprint] = {}
        self.disks: dict[str, DiskState] = {}
        self.processor = ProcessorState(cores)
        self._memory = MemoryPressure(self._reserve_bytes)
        self._freezer = Freezer()
        self._jobs: dict[JobKey, RunningJob] = {}
        self._demands: dict[JobKey, Demand] = {}
        self.short = ShortJobs(cores)
        self.reserved: frozenset[str] = frozenset()  # commands for which others leave room
        self._available_bytes = memory_bytes
        self._last: MachineCounters | None = None
        self._last_s = 0.0
        # Usage of jobs that ended since the last step, beyond what the last step saw of them.
        self._ended_cpu_s = 0.0
        self._ended_bytes: Counter[str] = Counter()
        self._has_ended = False

    # Events of jobs.

    def adopt_job(self, key: JobKey, command: str, used: JobCounters, now_s: float) -> None:
        """Record a job that an earlier controller started, and what it has used so far."""
        self._demands[key] = self.predict(command)
        job = RunningJob(key, command, now_s, now_s, used, peak_bytes=used.memory_bytes)
        job.is_adopted = True
        self._jobs[key] = job

    def list_measured(self, now_s: float) -> list[JobKey]:
        """Return the running jobs whose counters step() needs now: all but those that are expected
        to end before they could be measured."""
        for key, command, started_s in self.short.take_long(now_s):
            self._demands[key] = self.predict(command)
            self._jobs[key] = RunningJob(key, command, started_s, started_s)
        return list(self._jobs)

    def add_job(self, key: JobKey, command: str, now_s: float) -> None:
        """Record that a job starts now."""
        if self._is_short(command):
            self.short.add(key, command, now_s)
            return
        job = RunningJob(key, command, now_s, now_s)
        # Predict before the job is added: an earlier job of the command predicts its demand.
        self._demands[key] = self.predict(command)
        self._jobs[key] = job

    def set_frozen(self, key: JobKey, *, by_controller: bool, by_others: bool) -> None:
        """Record by whom a job is frozen now; others are users and closed run windows."""
        if job := self._jobs.get(key):
            job.is_frozen, job.is_held = by_controller, by_others

    def remove_job(
        self, key: JobKey, final: JobCounters, wall_s: float, *, has_succeeded: bool
    ) -> bool:
        """Record the end of a job. Return whether the footprint of its command has changed.

        final: its usage from start to end, where `memory_bytes` is the peak. wall_s: its duration
        without the time that it was frozen.
        """
        command = self.short.remove(key)
        if command is not None:
            # Nothing but the duration is known, as the job was not measured.
            known = self.footprints[command]
            known.learn_duration(wall_s)
            self._ended_cpu_s += final.cpu_s
            self._ended_bytes.update(final.moved_bytes)
            return not known.is_short
        job = self._jobs.pop(key, None)
        if job is None:
            return False
        del self._demands[key]
        self._has_ended, before = True, job.last
        self._count_end(before, final)
        job.peak_bytes = max(job.peak_bytes, final.memory_bytes)
        if job.is_adopted:
            return self._learn(job, has_succeeded=False)
        now_s = max(job.observed_s, job.observed_s + wall_s - job.active_s)
        rates = {disk: state.rate for disk, state in self.disks.items()}
        job.observe(final._replace(memory_bytes=before.memory_bytes), rates, now_s)
        return self._learn(job, has_succeeded=has_succeeded)

    def thaw_if_idle(self, now_s: float) -> list[FreezeChange]:
        """Return the frozen job to thaw at once because no other job runs; [] if there is none.
        Called after jobs have ended."""
        if not self._jobs or any(each.is_active for each in self._jobs.values()):
            return []
        return self._find_thaw(now_s)

    def _count_end(self, before: JobCounters, final: JobCounters) -> None:
        self._ended_cpu_s += max(final.cpu_s - before.cpu_s, 0.0)
        for disk, moved in final.moved_bytes.items():
            self._ended_bytes[disk] += max(moved - before.moved_bytes.get(disk, 0), 0)

    def _learn(self, job: RunningJob, *, has_succeeded: bool) -> bool:
        known = self.footprints.get(job.command)
        if not has_succeeded:
            if known is not None:
                known.learn_peak(job.peak_bytes)
            return known is not None
        if known is None:
            known = self.footprints[job.command] = Footprint()
        used = job.measure(self.cores)
        known.learn(used.cpu, used.disks, used.gpu, job.peak_bytes, job.effective_s)
        return True

    # Admission.

    def find_refusal(self, command: str) -> Refusal | None:
        """Return why no further job of the command may start now, or None if one may."""
        if self._is_short(command):
            return self._check_short()
        return self._check(command, self._sum_demands(), Counter())

    def count_room(self, command: str) -> int:
        """Return how many further jobs of the command could start now, if no other job starts."""
        if self._is_short(command):
            return self.short.room
        running, added = self._sum_demands(), Counter[str]()
        demand = self.predict(command)
        if self.reserved and command not in self.reserved:
            running.active = max(running.active, 1)  # an idle machine is kept, too
        while added[command] < _MAX_ROOM and self._check(command, running, added) is None:
            running.add(demand)
            added[command] += 1
        return added[command]

    def predict(self, command: str) -> Demand:
        """Return what a job of the command is expected to use if it starts now."""
        known = self.footprints.get(command)
        if known is not None and known.runs:
            return Demand(known.cpu, known.peak_bytes, known.gpu, known.disks)
        siblings = [each for each in self._jobs.values() if each.command == command]
        if oldest := max(siblings, key=lambda each: each.active_s, default=None):
            if oldest.active_s >= SETTLED_S:
                return oldest.predict(None, self._prior(), self.cores)
        prior = self._prior()
        return prior if known is None else prior._replace(peak_bytes=known.peak_bytes)

    def _prior(self) -> Demand:
        return assume_demand(self.footprints.values(), self._memory_bytes)

    def can_follow(self, command: str) -> bool:
        """Return whether jobs of the command may start whenever others end, unseen by
        find_refusal()."""
        return self._is_short(command) and not self._memory.is_high

    def count_followed(self) -> int:
        """Return how many such jobs the reaper may have: one for each that runs; none while too
        many run, as some have followed jobs that are not short."""
        count = len(self.short)
        return count if count <= self.short.limit else 0

    def _is_short(self, command: str) -> bool:
        known = self.footprints.get(command)
        return known is not None and known.is_short

    def _check_short(self) -> Refusal | None:
        if self._memory.is_high and (self._jobs or len(self.short)):
            return Refusal(MEMORY, "memory is short")
        if not self.short.room:
            count = len(self.short)
            return Refusal("", f"{count} jobs that last less than half a second run already")
        return None

    def _check(self, command: str, running: Commitments, added: Counter[str]) -> Refusal | None:
        if not running.active:
            # At least one job may always run. If there is a frozen job, it is thawed instead.
            return Refusal("", "a frozen job continues first") if self._jobs else None
        if self._memory.is_high:
            return Refusal(MEMORY, "memory is short")
        extra = 0.0
        if command not in self.footprints:
            ages = [each.active_s for each in self._jobs.values() if each.command == command]
            settled = sum(age >= SETTLED_S for age in ages)
            if len(ages) - settled + added[command] >= max(settled, 1):
                return Refusal("", f"the use of {command} is being measured, as it is new here")
            if not ages:
                extra = _TRIAL_OVERCOMMIT
        demand, resources = self.predict(command), self._resources()
        kept = [] if command in self.reserved else list(map(self.predict, self.reserved))
        return find_refusal(demand, running, resources, extra_overcommit=extra, kept=kept)

    def _sum_demands(self) -> Commitments:
        running = Commitments()
        for key, job in self._jobs.items():
            running.add(self._demands[key], job.last.memory_bytes, is_frozen=not job.is_active)
        return running

    def _resources(self) -> Resources:
        processor = self.processor
        return Resources(
            self.cores,
            processor.overcommit,
            processor.foreign,
            self._available_bytes,
            self._reserve_bytes,
            processor.gpu_limit,
            self.disks,
        )

    # The periodic step.

    def step(
        self, counters: MachineCounters, waiting: Collection[str], now_s: float
    ) -> list[FreezeChange]:
        """Learn from the load since the last call. Return the jobs to freeze and to thaw.

        waiting: names of the commands that have a job waiting for this machine.
        """
        last, elapsed_s = self._last, now_s - self._last_s
        if last is not None and elapsed_s < _MIN_PERIOD_S:
            return []
        self._last, self._last_s = counters, now_s
        self._available_bytes = counters.available_bytes
        if last is None:
            for key, found in counters.jobs.items():
                if key in self._jobs:
                    self._jobs[key].last = found
            return []
        own_bytes = self._measure(last, counters, elapsed_s, now_s)
        self._memory.measure(
            counters.available_bytes,
            (counters.memory_stall_s - last.memory_stall_s) / elapsed_s,
        )
        for key, job in self._jobs.items():
            self._demands[key] = job.predict(
                self._find_known(job.command), self._prior(), self.cores
            )
        lost_disk = self._adapt(own_bytes, waiting, elapsed_s, now_s)
        self._has_ended = False
        return self._freeze_or_thaw(lost_disk, counters.foreign_share(last, elapsed_s), now_s)

    @property
    def needs_foreign_stall(self) -> bool:
        """Whether the next step() depends on `foreign_stall_s`, which is costly to measure."""
        return self._freezer.duty_cycle.has_candidate

    def _find_known(self, command: str) -> Footprint | None:
        known = self.footprints.get(command)
        return known if known is not None and known.runs else None

    def _measure(
        self, last: MachineCounters, counters: MachineCounters, elapsed_s: float, now_s: float
    ) -> Counter[str]:
        """Separate the jobs' use from that of other programs. Return the jobs' bytes by disk."""
        own_cpu_s = self._ended_cpu_s + counters.overhead_s - last.overhead_s
        own_bytes, self._ended_bytes = self._ended_bytes, Counter()
        self._ended_cpu_s = 0.0
        rates: dict[str, DiskRate] = {}
        for disk, now in counters.disks.items():
            before = last.disks.get(disk, now)
            state = self.disks.setdefault(disk, DiskState())
            rates[disk] = state.measure(
                elapsed_s, now.moved_bytes - before.moved_bytes, now.busy_s - before.busy_s
            )
        for key, job in self._jobs.items():
            found = counters.jobs.get(key)
            if found is None:
                continue
            own_cpu_s += max(found.cpu_s - job.last.cpu_s, 0.0)
            for disk, moved in found.moved_bytes.items():
                own_bytes[disk] += max(moved - job.last.moved_bytes.get(disk, 0), 0)
            job.observe(found, rates, now_s)
        for disk in rates:
            self.disks[disk].separate_foreign(elapsed_s, own_bytes[disk])
        gpu_busy = None
        if counters.gpu_s is not None and last.gpu_s is not None:
            gpu_busy = (counters.gpu_s - last.gpu_s) / elapsed_s
        self.processor.measure(
            (counters.cpu_s - last.cpu_s) / elapsed_s,
            (counters.nice_s - last.nice_s) / elapsed_s,
            own_cpu_s / elapsed_s,
            gpu_busy,
        )
        return own_bytes

    def _adapt(
        self, own_bytes: Mapping[str, int], waiting: Iterable[str], elapsed_s: float, now_s: float
    ) -> str:
        """Adapt the learned limits. Return the disk on which a stream is too many, or ""."""
        refusals = [found for each in set(waiting) if (found := self.find_refusal(each))]
        limiting = {each.resource for each in refusals}
        heavy_limiting = {each.resource for each in refusals if each.is_heavy}
        are_settled = all(
            job.active_s >= SETTLED_S or self._find_known(job.command) is not None
            for job in self._jobs.values()
        )
        self.processor.adapt(
            is_limiting=CPU in limiting, is_gpu_limiting=GPU in limiting, are_settled=are_settled
        )
        lost_disk = ""
        for disk, state in self.disks.items():
            state.adapt_fill(is_limiting=disk in limiting)
            heavy = [
                job
                for key, job in self._jobs.items()
                if job.is_active and self._demands[key].disks.get(disk, 0.0) >= HEAVY_SHARE
            ]
            is_clean = not self._has_ended
            for job in heavy:
                job.heavy_periods += 1
                is_clean = is_clean and job.heavy_periods > STEADY_PERIODS
            if state.adapt_streams(
                len(heavy),
                own_bytes.get(disk, 0) / elapsed_s,
                now_s,
                is_waiting=disk in heavy_limiting,
                is_clean=is_clean,
            ):
                lost_disk = disk
        return lost_disk

    def _freeze_or_thaw(
        self, lost_disk: str, foreign_stalled: float | None, now_s: float
    ) -> list[FreezeChange]:
        running = self._sum_demands()
        is_overloaded = self.processor.count_overload(running.cpu)
        pressure = Pressure(self._memory.is_high, is_overloaded, lost_disk, foreign_stalled)
        jobs = list(self._jobs.values())
        found = self._freezer.decide(jobs, self._demands, self.disks, pressure, now_s)
        if found is not None:
            if is_overloaded:
                self.processor.overload_periods = 0
            return [found]
        return self._find_thaw(now_s)

    def _find_thaw(self, now_s: float) -> list[FreezeChange]:
        thawed = self._freezer.find_thaw(
            list(self._jobs.values()),
            self._demands,
            self.processor.idle,
            self.cores,
            self._check_frozen,
            now_s,
        )
        return [] if thawed is None else [thawed]

    def _check_frozen(self, job: RunningJob) -> Refusal | None:
        """Return why a frozen job may not continue. Its memory counts already."""
        if self._memory.is_high:
            return Refusal(MEMORY, "memory is short")
        demand = self._demands[job.key]._replace(peak_bytes=0)
        return find_refusal(demand, self._sum_demands(), self._resources())

    # What was learned about the machine itself, to keep it across restarts.

    def to_json(self) -> dict[str, Any]:
        return MachineFigures(self.processor.overcommit, self.disks).to_json()

    def load_json(self, value: Mapping[str, Any]) -> None:
        """Set what was learned earlier. Raises ValueError if it is not the result of to_json()."""
        found = parse_machine_figures(value, self.processor.overcommit)
        self.processor.overcommit, self.disks = found.overcommit, dict(found.disks)
