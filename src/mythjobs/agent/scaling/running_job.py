"""A running job as the controller knows it: its measured use, corrected for what others took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mythjobs.agent.scaling.counters import MIB, JobCounters, JobKey
from mythjobs.agent.scaling.footprint import Footprint

# A job of an unknown command is judged by its own measurements after this time.
SETTLED_S: Final = 1.5
# A job of a known command counts with its own measurements, too, after this time.
_OWN_MEASURE_S: Final = 5.0
# Assumed growth of the memory of an unknown job: to this multiple of its peak, or for this time.
_PEAK_FACTOR: Final = 1.5
_GROWTH_S: Final = 20.0
_GROWTH_GAIN: Final = 0.5
# Above this share of its time a disk delays the jobs that use it.
SATURATED: Final = 0.8
# A job whose bytes are a smaller share of a busy disk's bytes does not wait for that disk.
_MIN_WAITING_SHARE: Final = 0.02


class Demand(NamedTuple):
    """What a job is expected to use. peak_bytes: its memory at the peak."""

    cpu: float
    peak_bytes: int
    gpu: float = 0.0
    disks: Mapping[str, float] = {}


class DiskRate(NamedTuple):
    """A disk in one period: share of the time that it was busy, its throughput, and the throughput
    of one stream that has the disk for itself; None while unknown."""

    busy: float
    bytes_per_s: float
    single_bytes_per_s: float | None


@dataclass(slots=True, eq=False)
class RunningJob:
    """A job from its start to its end. active_s excludes frozen time; wasted_s is the part of it
    that the job waited for a disk that others used."""

    key: JobKey
    command: str
    started_s: float
    observed_s: float
    last: JobCounters = JobCounters()
    active_s: float = 0.0
    wasted_s: float = 0.0
    ready_s: float = 0.0
    gpu_s: float = 0.0
    peak_bytes: int = 0
    growth_bytes_per_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
    # is_frozen: by the controller. is_held: by others, such as a user or a closed run window.
    is_frozen: bool = False
    # is_adopted: started by an earlier agent, so that its use from the start is not known.
    is_held: bool = False
    is_adopted: bool = False
    frozen_s: float = 0.0  # instant of the last freeze
    thaw_after_s: float = 0.0
    backoff_s: float = 0.0
    heavy_periods: int = 0

    def observe(self, counters: JobCounters, disks: Mapping[str, DiskRate], now_s: float) -> None:
        """Add what the job did since the last call."""
        before, self.last = self.last, counters
        elapsed_s = now_s - self.observed_s
        self.observed_s = now_s
        self.peak_bytes = max(self.peak_bytes, counters.memory_bytes)
        if not self.is_active or elapsed_s <= 0:
            return
        self.active_s += elapsed_s
        ready_s = max(counters.cpu_s - before.cpu_s, 0.0)
        ready_s += max(counters.cpu_wait_s - before.cpu_wait_s, 0.0)
        self.ready_s += ready_s
        self.gpu_s += max(counters.gpu_s - before.gpu_s, 0.0)
        growth = (counters.memory_bytes - before.memory_bytes) / elapsed_s
        self.growth_bytes_per_s += _GROWTH_GAIN * (growth - self.growth_bytes_per_s)
        waiting = max(0.0, 1 - ready_s / elapsed_s)
        wasted = 0.0
        for disk, moved in counters.moved_bytes.items():
            rate = disks.get(disk)
            own = (moved - before.moved_bytes.get(disk, 0)) / elapsed_s
            if rate is None or own <= 0:
                continue
            alone = _share_alone(own, rate)
            self.busy_s[disk] = self.busy_s.get(disk, 0.0) + alone * elapsed_s
            if rate.busy > SATURATED and own > _MIN_WAITING_SHARE * rate.bytes_per_s:
                wasted = max(wasted, waiting - alone)
        self.wasted_s += wasted * elapsed_s

    @property
    def is_active(self) -> bool:
        return not (self.is_frozen or self.is_held)

    @property
    def effective_s(self) -> float:
        """How long the job would have run so far without waiting for a disk that others used."""
        return max(self.active_s - self.wasted_s, 0.0)

    def measure(self, cores: int) -> Demand:
        """Return what the job used so far, as if no other had slowed it down."""
        seconds = max(self.effective_s, 1e-3)
        disks = {disk: min(busy_s / seconds, 1.0) for disk, busy_s in self.busy_s.items()}
        cpu = min(self.ready_s / seconds, float(cores))
        return Demand(cpu, self.peak_bytes, self.gpu_s / seconds, disks)

    def predict(self, known: Footprint | None, prior: Demand, cores: int) -> Demand:
        """Return what the job is expected to use. known: the footprint of its command, or None if
        no job of it has ended. prior: assumed for an unknown job that has just started."""
        if known is not None:
            peak_bytes = max(known.peak_bytes, self.peak_bytes)
            cpu = known.cpu
            if self.active_s >= _OWN_MEASURE_S:
                cpu = (cpu + self.measure(cores).cpu) / 2
            return Demand(cpu, peak_bytes, known.gpu, known.disks)
        if self.active_s < SETTLED_S:
            return prior._replace(peak_bytes=max(prior.peak_bytes, self.peak_bytes))
        growth_bytes = _GROWTH_S * max(self.growth_bytes_per_s, 0.0)
        peak = max(_PEAK_FACTOR * self.peak_bytes, self.peak_bytes + growth_bytes)
        return self.measure(cores)._replace(peak_bytes=round(peak) + MIB)


def _share_alone(own: float, rate: DiskRate) -> float:
    """Return the share of the disk's time that `own` bytes per second would take alone."""
    if rate.busy > SATURATED and rate.single_bytes_per_s:
        return min(1.0, own / rate.single_bytes_per_s)
    return min(1.0, rate.busy * own / max(rate.bytes_per_s, own))
