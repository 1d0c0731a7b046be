"""Mixes of jobs on which the scaling controller is compared with the best fixed number of jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

from mythjobs.agent.scaling.counters import MIB
from tests.simulation.scaling.machine import (
    GIB,
    ForeignLoad,
    Phase,
    SimulatedDisk,
    SimulatedJob,
    SimulatedMachine,
)

CORES: Final = 4
MEMORY_BYTES: Final = 16 * GIB
HDD: Final = SimulatedDisk(120, 120, seek_cost=0.3)
SSD: Final = SimulatedDisk(250, 500)
_DAY_S: Final = 86_400.0

TRANSCODE: Final = SimulatedJob(
    "transcode", (Phase(100, cpu=1.0, disks=(("hdd", 0.02),)),), 300 * MIB
)
THREADED: Final = SimulatedJob(
    "transcode-threaded", (Phase(60, cpu=3.3, disks=(("hdd", 0.05),)),), 900 * MIB
)
COPY: Final = SimulatedJob("copy", (Phase(25, cpu=0.1, disks=(("hdd", 1.0),)),), 50 * MIB)
COPY_SSD: Final = SimulatedJob("copy-ssd", (Phase(40, cpu=0.2, disks=(("ssd", 1.0),)),), 50 * MIB)
FETCH: Final = SimulatedJob("fetch", (Phase(90, cpu=0.01),), 30 * MIB)
HOG: Final = SimulatedJob("index", (Phase(90, cpu=0.8),), round(2.7 * GIB))
ALTERNATING: Final = SimulatedJob(
    "cut", (Phase(20, cpu=0.1, disks=(("hdd", 1.0),)), Phase(30, cpu=1.0)) * 2, 200 * MIB
)
FLAG: Final = SimulatedJob("flag", (Phase(60, cpu=0.9, disks=(("hdd", 0.25),)),), 200 * MIB)
GPU_ENCODE: Final = SimulatedJob("encode-gpu", (Phase(40, cpu=0.3, gpu=0.6),), 400 * MIB)

_LIVE_TV: Final = (
    ForeignLoad(20, _DAY_S, disk="hdd", mb_s=8.0),
    ForeignLoad(120, _DAY_S, cpu=1.0, disk="hdd", mb_s=5.0),
)
_PACED_READER: Final = (ForeignLoad(10, _DAY_S, disk="hdd", mb_s=20.0),)


class Mix(NamedTuple):
    """Jobs by kind and number; shuffled, or in blocks. foreign: load of other programs."""

    jobs: tuple[tuple[SimulatedJob, int], ...]
    foreign: tuple[ForeignLoad, ...] = ()
    is_shuffled: bool = True

    def build_jobs(self, seed: int) -> list[SimulatedJob]:
        """Return the jobs, with durations that vary by a quarter."""
        random = Random(seed)
        found = []
        for job, count in self.jobs:
            for _ in range(count):
                factor = random.uniform(0.75, 1.25)
                phases = tuple(replace(each, wall_s=each.wall_s * factor) for each in job.phases)
                found.append(replace(job, phases=phases))
        if self.is_shuffled:
            random.shuffle(found)
        return found

    def build_machine(self) -> SimulatedMachine:
        return SimulatedMachine(CORES, MEMORY_BYTES, {"hdd": HDD, "ssd": SSD}, self.foreign)


_ALL: Final = (
    (TRANSCODE, 10), (THREADED, 3), (COPY, 6), (COPY_SSD, 4), (FETCH, 12), (FLAG, 6), (HOG, 3),
)  # fmt: skip

MIXES: Final = {
    "transcode": Mix(((TRANSCODE, 24),)),
    "transcode with threads": Mix(((THREADED, 10),)),
    "copies on a hard disk": Mix(((COPY, 20),)),
    "copies on an SSD": Mix(((COPY_SSD, 20),)),
    "network": Mix(((FETCH, 100),)),
    "everything": Mix(_ALL),
    "much memory": Mix(((HOG, 16),)),
    "alternating phases": Mix(((ALTERNATING, 16),)),
    "blocks": Mix(_ALL, is_shuffled=False),
    "everything beside live TV": Mix(_ALL, _LIVE_TV),
    "copies beside a paced reader": Mix(((COPY, 20),), _PACED_READER),
    "GPU and processor": Mix(((GPU_ENCODE, 12), (TRANSCODE, 8))),
}  # fmt: skip

Builder = Callable[[], SimulatedMachine]
