"""Load of this machine: processor, memory, memory pressure and disks, read from /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.agent.measurement.disks import DiskMap, parse_diskstats
from mythjobs.agent.scaling.counters import JobCounters, JobKey, MachineCounters
from mythjobs.process import procfs
from mythjobs.process.cgroup.mounts import CgroupMounts, read_cgroup_mounts

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# v1 cgroups without a limit have one near 2**63.
_NO_LIMIT_BYTES: Final = 2**60
_AVAILABLE: Final = re.compile(rb"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
# Lines "some" and "full"; before Linux 5.13 the processor has only "some".
_AVERAGE: Final = re.compile(rb"^(?:some|full) avg10=([0-9.]+)", re.MULTILINE)
_PRESSURE: Final = {name: f"/proc/pressure/{name}" for name in ("cpu", "io", "memory")}
_STALL: Final = re.compile(rb"^full .*total=(\d+)", re.MULTILINE)
_INACTIVE: Final = re.compile(rb"^(?:total_)?inactive_file (\d+)", re.MULTILINE)


class _MemoryLimit(NamedTuple):
    """A cgroup that limits the memory of this process and its jobs."""

    limit_bytes: int
    usage_path: str
    stat_path: str


class MachineLoadReader:
    """Reads the machine's counters. The files are kept open: reading them again takes less than a
    third of the time."""

    def __init__(self, disks: DiskMap) -> None:
        self._disks = disks
        self._files: dict[str, int] = {}
        for path in ("/proc/stat", "/proc/meminfo", "/proc/diskstats", *_PRESSURE.values()):
            # Pressure information may be switched off in the kernel.
            with suppress(OSError):
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._limit = _find_memory_limit(read_cgroup_mounts())

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    @property
    def cores(self) -> int:
        """Number of cores on which this process, and so each job, may run."""
        return len(os.sched_getaffinity(0))

    @property
    def memory_bytes(self) -> int:
        total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
        return min(total, self._limit.limit_bytes) if self._limit else total

    def read(
        self, jobs: Mapping[JobKey, JobCounters], reaper_pids: Iterable[int]
    ) -> MachineCounters:
        """Return the counters of the machine, with those of the given jobs."""
        busy_s, nice_s = parse_cpu(self._read("/proc/stat"))
        disks = parse_diskstats(self._read("/proc/diskstats"), self._disks.names)
        times = os.times()
        overhead_s = times.user + times.system + sum(map(_read_own_cpu_s, reaper_pids))
        stall = _STALL.search(self._read(_PRESSURE["memory"]))
        stall_s = int(stall[1]) / 1e6 if stall else 0.0
        available = self._read_available_bytes()
        return MachineCounters(busy_s, nice_s, available, stall_s, disks, jobs, overhead_s)

    def read_pressure(self) -> dict[str, tuple[float, float]]:
        """Return the kernel's pressure information (PSI) by resource: percent of the last 10 s in
        which some, and in which all processes waited. Empty without it."""
        found = {}
        for name, path in _PRESSURE.items():
            shares = [float(each) for each in _AVERAGE.findall(self._read(path))]
            if shares:
                found[name] = (shares[0], shares[1] if len(shares) > 1 else 0.0)
        return found

    def _read(self, path: str) -> bytes:
        fd = self._files.get(path)
        return b"" if fd is None else os.pread(fd, 65536, 0)

    def _read_available_bytes(self) -> int:
        found = _AVAILABLE.search(self._read("/proc/meminfo"))
        available = int(found[1]) * 1024 if found else self.memory_bytes
        if self._limit is None:
            return available
        try:
            used = int(Path(self._limit.usage_path).read_bytes())
            cached = _INACTIVE.search(Path(self._limit.stat_path).read_bytes())
        except (OSError, ValueError):
            return available
        left = self._limit.limit_bytes - used + (int(cached[1]) if cached else 0)
        return max(min(available, left), 0)


def parse_cpu(text: bytes) -> tuple[float, float]:
    """Return the busy time of all cores in seconds, and the part of it that processes with a nice
    value above 0 spent in user mode, from the first line of /proc/stat (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, text.split(None, 9)[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy / _TICKS_PER_S, nice / _TICKS_PER_S


def _read_own_cpu_s(pid: int) -> float:
    """Return the CPU time of a process without that of its children."""
    fields = procfs.read_stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _find_memory_limit(mounts: CgroupMounts) -> _MemoryLimit | None:
    """Return the lowest memory limit of the cgroups that this process is in, for example in a
    container."""
    found = []
    for directory, names in (
        (mounts.unified, ("memory.max", "memory.current")),
        (mounts.controllers.get("memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ):
        path = Path(directory) if directory else None
        while path is not None and (path / "cgroup.procs").exists():
            with suppress(OSError, ValueError):
                limit_bytes = int((path / names[0]).read_bytes())
                if limit_bytes < _NO_LIMIT_BYTES:
                    usage, stat = str(path / names[1]), str(path / "memory.stat")
                    found.append(_MemoryLimit(limit_bytes, usage, stat))
            path = path.parent
    return min(found, default=None)
