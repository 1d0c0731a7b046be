"""Load of a machine without automatic scaling, measured with each heartbeat, for people."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.job_usage import find_disks
from mythjobs.agent.measurement.machine_load import MachineLoadReader
from mythjobs.agent.scaling.counters import MachineCounters
from mythjobs.agent.scaling.processor import compute_foreign
from mythjobs.clock import Now
from mythjobs.process import procfs
from mythjobs.process.supervise.usage import walk_tree
from mythjobs.protocol.scaling import DiskLoad, LoadReport

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat, from the state on (proc(5)).
_NICE, _START = 16, 19
# A period shorter than this says too little.
_MIN_PERIOD_MS: Final = 500

ProcessKey = tuple[int, int]  # pid and start, in ticks since the boot

log = logging.getLogger(__name__)


class _Sample(NamedTuple):
    """Counters of the machine and of the reapers with all their jobs. nice_ticks: CPU time in user
    mode of each process that runs at low priority. disks: which the jobs use."""

    steady_ms: int
    machine: MachineCounters
    own_cpu_s: float
    nice_ticks: Mapping[ProcessKey, int]
    own_bytes: int
    disks: frozenset[str]


def read_cpu_ticks(pids: Iterable[int]) -> tuple[int, dict[ProcessKey, int]]:
    """Return the CPU time of processes and of the children that they waited for, and for each
    process at low priority the part in user mode: the kernel counts no more for the machine."""
    ticks, nice_ticks = 0, {}
    for pid in pids:
        # Fields 14 to 17 of /proc/PID/stat.
        fields = procfs.read_stat_fields(pid)
        ticks += sum(map(int, fields[11:15]))
        if fields and int(fields[_NICE]) > 0:
            nice_ticks[pid, int(fields[_START])] = int(fields[11]) + int(fields[13])
    return ticks, nice_ticks


def sum_nice_ticks(before: Mapping[ProcessKey, int], now: Mapping[ProcessKey, int]) -> int:
    """Return the CPU time that processes of low priority have used between two samples. That of the
    last period of a process is unknown: it counts as one at normal priority."""
    return sum(max(ticks - before.get(key, 0), 0) for key, ticks in now.items())


class LoadMeter:
    """Measures the mean load between two heartbeats.

    What the jobs use is what the reapers' process trees use: the usage of an ended process is part
    of its parent's, and a reaper becomes the parent of orphans. So no job has to be followed.
    """

    def __init__(self, output_directory: Path) -> None:
        """output_directory: a job that has no file open counts as using its disk."""
        self._disks = DiskMap()
        self._reader = MachineLoadReader(self._disks)
        default = self._disks.find_for_path(str(output_directory))
        self._default_disks = frozenset(() if default is None else (default,))
        self._last: _Sample | None = None
        self.load: LoadReport | None = None

    def close(self) -> None:
        self._reader.close()

    def measure(self, reaper_pids: Iterable[int], now: Now) -> None:
        """Set `load` to the load since the last call."""
        last = self._last
        if last is not None and now.steady_ms - last.steady_ms < _MIN_PERIOD_MS:
            return
        try:
            sample = self._last = self._read(reaper_pids, now)
        except OSError as error:
            # The agent lacks descriptors or memory now.
            log.warning("cannot measure the load of this machine: %s", error)
            return
        if last is not None:
            self.load = self._compute(last, sample)

    def _read(self, reaper_pids: Iterable[int], now: Now) -> _Sample:
        pids = [pid for reaper in reaper_pids for pid in walk_tree(reaper)]
        ticks, nice_ticks = read_cpu_ticks(pids)
        moved = sum(sum(procfs.read_disk_io_bytes(pid)) for pid in pids)
        disks = frozenset(find_disks(self._disks, pids)) or self._default_disks
        machine = self._reader.read({}, ())
        return _Sample(now.steady_ms, machine, ticks / _TICKS_PER_S, nice_ticks, moved, disks)

    def _compute(self, last: _Sample, sample: _Sample) -> LoadReport:
        before, machine = last.machine, sample.machine
        elapsed_s = (sample.steady_ms - last.steady_ms) / 1000
        busy = max(machine.cpu_s - before.cpu_s, 0.0) / elapsed_s
        own = min(max(sample.own_cpu_s - last.own_cpu_s, 0.0) / elapsed_s, busy)
        # As in automatic scaling, programs of low priority are not foreign load. Here the jobs have
        # one only if their command sets it.
        nice = max(machine.nice_s - before.nice_s, 0.0) / elapsed_s
        own_nice_s = sum_nice_ticks(last.nice_ticks, sample.nice_ticks) / _TICKS_PER_S
        foreign = compute_foreign(busy, own, nice, own_nice_s / elapsed_s)
        own_bytes = max(sample.own_bytes - last.own_bytes, 0) / max(len(sample.disks), 1)
        disks = {}
        for name, counters in machine.disks.items():
            if (earlier := before.disks.get(name)) is None:
                continue
            share = min(max(counters.busy_s - earlier.busy_s, 0.0) / elapsed_s, 1.0)
            moved = counters.moved_bytes - earlier.moved_bytes
            others = moved - (own_bytes if name in sample.disks else 0.0)
            others_share = share * max(others, 0.0) / moved if moved > 0 else 0.0
            disks[name] = DiskLoad(round(share, 2), round(others_share, 2))
        return LoadReport(
            self._reader.cores,
            round(busy, 2),
            round(foreign, 2),
            self._reader.memory_bytes,
            machine.available_bytes,
            disks,
            round(own, 2),
            self._reader.read_pressure(),
        )
