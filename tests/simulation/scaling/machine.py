"""Simulated machine for the scaling controller: cores, disks that lose time to seeks, memory, a GPU
and load of other programs. Rates are constant between events (a fluid model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mythjobs.agent.scaling.counters import (
    MIB,
    DiskCounters,
    JobCounters,
    JobKey,
    MachineCounters,
)

GIB: Final = 1024 * MIB
# Time lost to switches between processes, per job beyond the cores.
_SWITCH_COST: Final = 0.02
# Slowdown of all jobs per 100 % of memory beyond the machine's; beyond _KILL_AT the kernel kills.
_SWAP_COST: Final = 10.0
_KILL_AT: Final = 0.2
_GROWTH_S: Final = 10.0
_EPSILON: Final = 1e-9


@dataclass(frozen=True)
class Phase:
    """Part of a job: its duration alone, and what it uses then. disks: share of the throughput of
    one stream."""

    wall_s: float
    cpu: float = 0.0
    disks: tuple[tuple[str, float], ...] = ()
    gpu: float = 0.0


@dataclass(frozen=True)
class SimulatedJob:
    command: str
    phases: tuple[Phase, ...]
    memory_bytes: int = 100 * MIB


@dataclass(frozen=True)
class SimulatedDisk:
    """stream_mb_s: throughput of one stream. total_mb_s: of many. seek_cost: loss per additional
    stream."""

    stream_mb_s: float
    total_mb_s: float
    seek_cost: float = 0.0

    def capacity(self, streams: float) -> float:
        return self.total_mb_s / (1 + self.seek_cost * max(streams - 1, 0.0))


@dataclass(frozen=True)
class ForeignLoad:
    """Other programs: cores, and paced streams of a disk, from begin_s to end_s."""

    begin_s: float = 0.0
    end_s: float = 0.0
    cpu: float = 0.0
    disk: str = ""
    mb_s: float = 0.0


@dataclass(eq=False)
class _Running:
    key: JobKey
    job: SimulatedJob
    left: list[Phase]
    left_s: float
    age_s: float = 0.0
    is_frozen: bool = False
    rate: float = 0.0
    cpu: float = 0.0
    cpu_wait: float = 0.0
    mb_s: dict[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    cpu_wait_s: float = 0.0
    gpu_s: float = 0.0
    moved: dict[str, float] = field(default_factory=dict)
    frozen_s: float = 0.0

    @property
    def phase(self) -> Phase:
        return self.left[0]

    @property
    def memory_bytes(self) -> int:
        return round(self.job.memory_bytes * min(0.1 + self.age_s / _GROWTH_S, 1.0))

    def counters(self) -> JobCounters:
        moved = {disk: round(mb * MIB) for disk, mb in self.moved.items()}
        return JobCounters(self.cpu_s, self.cpu_wait_s, self.memory_bytes, moved, self.gpu_s)


class SimulatedMachine:
    def __init__(
        self,
        cores: int,
        memory_bytes: int,
        disks: dict[str, SimulatedDisk],
        foreign: Sequence[ForeignLoad] = (),
    ) -> None:
        self.cores, self.memory_bytes, self.disks = cores, memory_bytes, disks
        self._foreign = foreign
        self.now_s = 0.0
        self.running: dict[JobKey, _Running] = {}
        self.kills = 0
        self.late_s = self.paced_s = 0.0
        self.least_active = 1
        self._busy_s = dict.fromkeys(disks, 0.0)
        self._moved = dict.fromkeys(disks, 0.0)
        self._cpu_s = self._gpu_s = self._stall_s = 0.0
        self._disk_busy: dict[str, float] = {}
        self._disk_mb_s: dict[str, float] = {}
        self._gpu_busy = self._used_cpu = self._stalled = 0.0
        self._is_late = self._is_paced = False

    def start(self, key: JobKey, job: SimulatedJob) -> None:
        self.running[key] = _Running(key, job, list(job.phases), job.phases[0].wall_s)

    def counters(self) -> MachineCounters:
        used = sum(each.memory_bytes for each in self.running.values())
        return MachineCounters(
            self._cpu_s,
            0.0,
            max(self.memory_bytes - used, 0),
            self._stall_s,
            {
                disk: DiskCounters(round(self._moved[disk] * MIB), self._busy_s[disk])
                for disk in self.disks
            },
            {key: each.counters() for key, each in self.running.items()},
            gpu_s=self._gpu_s,
        )

    def run(self, until_s: float) -> list[tuple[JobKey, JobCounters, float, bool]]:
        """Advance to the next end of a job, or to `until_s`. Return the jobs that ended: key,
        usage, duration without frozen time, and whether it succeeded."""
        while self.now_s < until_s - _EPSILON:
            self._allocate()
            step_s = until_s - self.now_s
            for each in self._foreign:
                for edge_s in (each.begin_s, each.end_s):
                    if edge_s > self.now_s + _EPSILON:
                        step_s = min(step_s, edge_s - self.now_s)
            for run in self.running.values():
                if run.rate > _EPSILON:
                    step_s = min(step_s, run.left_s / run.rate)
            self._advance(max(step_s, _EPSILON))
            if ended := self._end_jobs():
                return ended
        return []

    def _allocate(self) -> None:
        active = [each for each in self.running.values() if not each.is_frozen]
        if self.running:
            self.least_active = min(self.least_active, len(active))
        foreign = [e for e in self._foreign if e.begin_s <= self.now_s + _EPSILON < e.end_s]
        rates = dict.fromkeys(active, 1.0)
        self._is_late = False
        self._is_paced = any(each.mb_s for each in foreign)
        self._share_disks(active, foreign, rates)
        self._share_gpu(active, rates)
        self._share_cpu(active, sum(each.cpu for each in foreign), rates)
        used = sum(each.memory_bytes for each in self.running.values())
        excess = max(used / self.memory_bytes - 1, 0.0)
        self._stalled = 0.0 if excess <= 0 else min(1.0, 0.2 + excess * 4)
        for run in active:
            run.rate = rates[run] / (1 + _SWAP_COST * excess)

    def _share_disks(
        self, active: list[_Running], foreign: list[ForeignLoad], rates: dict[_Running, float]
    ) -> None:
        for name, disk in self.disks.items():
            wanted: list[tuple[float, _Running | None]] = []
            for run in active:
                run.mb_s.pop(name, None)
                share = dict(run.phase.disks).get(name, 0.0)
                if share:
                    wanted.append((share * disk.stream_mb_s, run))
            wanted += [(each.mb_s, None) for each in foreign if each.disk == name]
            streams = sum(each / disk.stream_mb_s for each, _ in wanted)
            capacity = disk.capacity(streams)
            left, total = capacity, 0.0
            wanted.sort(key=lambda each: each[0])
            for count, (mb_s, run_or_none) in enumerate(wanted):
                given = min(mb_s, left / (len(wanted) - count))
                left -= given
                total += given
                if run_or_none is None:
                    self._is_late = self._is_late or given < 0.9 * mb_s
                else:
                    run_or_none.mb_s[name] = given
                    rates[run_or_none] = min(rates[run_or_none], given / mb_s)
            self._disk_mb_s[name] = total
            self._disk_busy[name] = min(total / min(disk.stream_mb_s, capacity), 1.0)

    def _share_gpu(self, active: list[_Running], rates: dict[_Running, float]) -> None:
        wanted = sum(each.phase.gpu * rates[each] for each in active)
        factor = min(1.0, 1 / wanted) if wanted else 1.0
        self._gpu_busy = min(wanted, 1.0)
        for run in active:
            if run.phase.gpu:
                rates[run] *= factor

    def _share_cpu(
        self, active: list[_Running], foreign_cpu: float, rates: dict[_Running, float]
    ) -> None:
        wanted = sorted(
            ((each.phase.cpu * rates[each], each) for each in active), key=lambda each: each[0]
        )
        total = sum(each for each, _ in wanted)
        free = max(self.cores - foreign_cpu, 0.05)
        free /= 1 + _SWITCH_COST * max(total - free, 0.0) / self.cores
        used, threads_left = 0.0, sum(max(each, 1.0) for each, _ in wanted)
        left = free
        for cpu, run in wanted:
            threads = max(cpu, 1.0)
            given = min(cpu, left * threads / threads_left)
            left -= given
            threads_left -= threads
            used += given
            run.cpu, run.cpu_wait = given, cpu - given
            if cpu > _EPSILON:
                rates[run] *= given / cpu
                for disk in run.mb_s:
                    run.mb_s[disk] *= given / cpu
        self._used_cpu = used + foreign_cpu

    def _advance(self, step_s: float) -> None:
        self.now_s += step_s
        self._cpu_s += self._used_cpu * step_s
        self._gpu_s += self._gpu_busy * step_s
        self._stall_s += self._stalled * step_s
        self.paced_s += self._is_paced * step_s
        self.late_s += self._is_late * step_s
        for name in self.disks:
            self._busy_s[name] += self._disk_busy[name] * step_s
            self._moved[name] += self._disk_mb_s[name] * step_s
        for run in self.running.values():
            if run.is_frozen:
                run.frozen_s += step_s
                continue
            run.age_s += step_s
            run.left_s -= run.rate * step_s
            run.cpu_s += run.cpu * step_s
            run.cpu_wait_s += run.cpu_wait * step_s
            run.gpu_s += run.phase.gpu * run.rate * step_s
            for disk, mb_s in run.mb_s.items():
                run.moved[disk] = run.moved.get(disk, 0.0) + mb_s * step_s

    def _end_jobs(self) -> list[tuple[JobKey, JobCounters, float, bool]]:
        ended = []
        for key, run in list(self.running.items()):
            while run.left and run.left_s <= 1e-6:
                run.left.pop(0)
                run.left_s = run.left[0].wall_s if run.left else 0.0
            if not run.left:
                ended.append((key, run.counters(), run.age_s, True))
                del self.running[key]
        used = sum(each.memory_bytes for each in self.running.values())
        if used > (1 + _KILL_AT) * self.memory_bytes:
            victim = max(self.running.values(), key=lambda each: each.memory_bytes)
            ended.append((victim.key, victim.counters(), victim.age_s, False))
            del self.running[victim.key]
            self.kills += 1
        return ended
