"""Admission: whether one more job fits beside the running ones, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from mythjobs.agent.scaling.counters import MIB
from mythjobs.agent.scaling.disk_state import HEAVY_SHARE, DiskState
from mythjobs.agent.scaling.footprint import MIN_SHARE, Footprint
from mythjobs.agent.scaling.running_job import Demand

CPU: Final = "cpu"
MEMORY: Final = "memory"
GPU: Final = "gpu"
# A job that uses less than this many cores is not kept waiting for the processor.
_TINY_CPU: Final = 0.05
# A job may exceed the overcommit by this much if less than this share of the cores is busy.
_FILLING: Final = 0.5
_ALMOST_BUSY: Final = 0.85
_MIN_RESERVE_BYTES: Final = 512 * MIB
_RESERVE_SHARE: Final = 0.05
# While a heavy stream runs on a disk, light jobs get this share of the disk's limit (`fill`).
_BESIDE_HEAVY: Final = 0.6
_ASSUMED_MEMORY_SHARE: Final = 1 / 16
_GIB: Final = 1024 * MIB


class Refusal(NamedTuple):
    """Why no further job of a command may start. resource: CPU, MEMORY, GPU, the name of a disk, or
    "" for another reason. sentence: the reason for people."""

    resource: str
    sentence: str
    is_heavy: bool = False


def assume_demand(known: Iterable[Footprint], memory_bytes: int) -> Demand:
    """Return the demand assumed for a job of a command of which nothing is known.

    known: the footprints of other commands. memory_bytes: of the machine.
    """
    peaks = sorted(each.peak_bytes for each in known)
    if len(peaks) < 3:
        return Demand(1.0, round(memory_bytes * _ASSUMED_MEMORY_SHARE))
    return Demand(1.0, peaks[min(len(peaks) * 9 // 10, len(peaks) - 1)])


class Resources(NamedTuple):
    """Resources of the machine for the sum of all jobs. overcommit: factor on the cores.
    foreign_cpu: cores that other programs use. available_bytes: memory that is free now."""

    cores: int
    overcommit: float
    foreign_cpu: float
    available_bytes: int
    reserve_bytes: int
    gpu_limit: float
    disks: Mapping[str, DiskState]


def memory_reserve_bytes(total_bytes: int) -> int:
    """Return how much memory stays free for the machine's other programs."""
    return round(max(_MIN_RESERVE_BYTES, _RESERVE_SHARE * total_bytes))


@dataclass(slots=True)
class DiskUse:
    heavy: int = 0
    light: float = 0.0
    share: float = 0.0


@dataclass(slots=True)
class Commitments:
    """What the jobs that have started are expected to use. growth_bytes: memory that they will take
    in addition to what they have now, frozen ones included."""

    active: int = 0
    cpu: float = 0.0
    gpu: float = 0.0
    growth_bytes: int = 0
    disks: dict[str, DiskUse] = field(default_factory=dict)

    def copy(self) -> Commitments:
        disks = {disk: replace(use) for disk, use in self.disks.items()}
        return replace(self, disks=disks)

    def add(self, demand: Demand, resident_bytes: int = 0, *, is_frozen: bool = False) -> None:
        self.growth_bytes += max(demand.peak_bytes - resident_bytes, 0)
        if is_frozen:
            return
        self.active += 1
        self.cpu += demand.cpu
        self.gpu += demand.gpu
        for disk, share in demand.disks.items():
            if share >= MIN_SHARE:
                use = self.disks.setdefault(disk, DiskUse())
                use.share += share
                if share >= HEAVY_SHARE:
                    use.heavy += 1
                else:
                    use.light += share


def find_refusal(
    demand: Demand,
    running: Commitments,
    resources: Resources,
    *,
    extra_overcommit: float = 0.0,
    kept: Sequence[Demand] = (),
) -> Refusal | None:
    """Return why a job with this demand does not fit, or None if it fits. A machine without a
    running job always has room for one.

    kept: demands of jobs that must still fit afterwards, because they have waited longer.
    """
    if not running.active:
        return None
    found = _find_refusal(demand, running, resources, extra_overcommit)
    if found is not None or not kept:
        return found
    total = running.copy()
    for each in kept:
        total.add(each)
    found = _find_refusal(demand, total, resources, extra_overcommit)
    return found and found._replace(sentence="room is kept for a job that has waited longer")


def _find_refusal(
    demand: Demand, running: Commitments, resources: Resources, extra_overcommit: float
) -> Refusal | None:
    left_bytes = resources.available_bytes - running.growth_bytes - resources.reserve_bytes
    if left_bytes < demand.peak_bytes:
        return Refusal(MEMORY, _describe_memory(demand, running, resources))
    if demand.cpu > _TINY_CPU and not _fits_cpu(demand, running, resources, extra_overcommit):
        return Refusal(CPU, _describe_cpu(demand, running, resources))
    if demand.gpu > MIN_SHARE and running.gpu + demand.gpu > resources.gpu_limit:
        return Refusal(GPU, f"the GPU is used by {running.gpu:.0%}")
    for disk, share in demand.disks.items():
        if share >= MIN_SHARE and (found := _check_disk(disk, share, running, resources)):
            return found
    return None


def _fits_cpu(
    demand: Demand, running: Commitments, resources: Resources, extra_overcommit: float
) -> bool:
    free = resources.cores - resources.foreign_cpu
    limit = resources.overcommit * resources.cores - resources.foreign_cpu
    total = running.cpu + demand.cpu
    if total <= limit + extra_overcommit * resources.cores:
        return True
    # Two jobs that take turns lose less than cores that stay idle beside one job.
    return running.cpu <= _ALMOST_BUSY * free and total <= limit + _FILLING * resources.cores


def _check_disk(
    disk: str, share: float, running: Commitments, resources: Resources
) -> Refusal | None:
    state = resources.disks.get(disk) or DiskState()
    use = running.disks.get(disk, DiskUse())
    if share < HEAVY_SHARE:
        limit = state.fill * (_BESIDE_HEAVY if use.heavy else 1)
        if use.light + state.foreign + share <= limit:
            return None
        return Refusal(disk, _describe_disk(disk, use, state))
    is_alone = not use.heavy and not use.light
    if use.heavy < state.stream_limit and (is_alone or use.light + state.foreign <= state.fill):
        return None
    if not state.has_foreign_load and use.share + share <= state.fill:
        # Streams that keep the disk busy for half of their time alternate.
        return None
    return Refusal(disk, _describe_disk(disk, use, state), is_heavy=True)


def _describe_cpu(demand: Demand, running: Commitments, resources: Resources) -> str:
    foreign = ""
    if resources.foreign_cpu >= _TINY_CPU:
        foreign = f", other programs use {resources.foreign_cpu:.1f}"
    cores = "1 core" if resources.cores == 1 else f"{resources.cores} cores"
    return (
        f"the running jobs use {running.cpu:.1f} of {cores}{foreign}, and the next job would use "
        f"{demand.cpu:.1f}"
    )


def _describe_memory(demand: Demand, running: Commitments, resources: Resources) -> str:
    growth = ""
    if running.growth_bytes >= _GIB / 10:
        growth = f", of which the running jobs will take {running.growth_bytes / _GIB:.1f}"
    return (
        f"{resources.available_bytes / _GIB:.1f} GiB of memory are free{growth}, and the next job "
        f"would need {demand.peak_bytes / _GIB:.1f} beside a reserve of "
        f"{resources.reserve_bytes / _GIB:.1f}"
    )


def _describe_disk(disk: str, use: DiskUse, state: DiskState) -> str:
    heavy = "1 heavy stream" if use.heavy == 1 else f"{use.heavy} heavy streams"
    if state.has_foreign_load:
        return f"other programs use disk {disk} for {state.foreign:.0%} of its time, beside {heavy}"
    if use.heavy:
        return f"disk {disk} is saturated by {heavy}"
    return f"disk {disk} is in use for {use.share:.0%} of its time"
