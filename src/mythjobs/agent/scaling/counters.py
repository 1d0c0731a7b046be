"""Counters that the scaling controller reads once per period. All of them only grow, apart from the
current memory, so that a late reading loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

# Identifies an attempt: (job id, attempt number).
JobKey = tuple[int, int]

MIB: Final = 2**20


class DiskCounters(NamedTuple):
    """Bytes that a disk has read and written, and the time during which it was busy."""

    moved_bytes: int
    busy_s: float


class JobCounters(NamedTuple):
    """Usage of one job's process tree since its start.

    cpu_wait_s: time that its threads were ready to run and waited for a core. memory_bytes:
    current resident memory. moved_bytes: bytes read from and written to each disk.
    """

    cpu_s: float = 0.0
    cpu_wait_s: float = 0.0
    memory_bytes: int = 0
    moved_bytes: Mapping[str, int] = {}
    gpu_s: float = 0.0


class MachineCounters(NamedTuple):
    """Load of the whole machine, and of each sampled job in `jobs`.

    cpu_s: busy time of all cores. nice_s: the part that processes with a nice value above 0, as
    jobs, used in user mode. overhead_s: CPU time of the agent and its reapers. memory_stall_s: time
    during which all processes waited for memory. gpu_s: busy time of the GPU's engine; None without
    a GPU. foreign_stall_s: time during which a program that is not a job waited for a disk; None if
    unknown.
    """

    cpu_s: float
    nice_s: float
    available_bytes: int
    memory_stall_s: float = 0.0
    disks: Mapping[str, DiskCounters] = {}
    jobs: Mapping[JobKey, JobCounters] = {}
    overhead_s: float = 0.0
    gpu_s: float | None = None
    foreign_stall_s: float | None = None

    def foreign_share(self, last: MachineCounters, elapsed_s: float) -> float | None:
        """Return the share of the time since `last` in which a program that is not a job waited
        for a disk; None if unknown."""
        if self.foreign_stall_s is None or last.foreign_stall_s is None:
            return None
        return (self.foreign_stall_s - last.foreign_stall_s) / elapsed_s
