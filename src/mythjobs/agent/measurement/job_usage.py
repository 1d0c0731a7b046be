"""Usage of running jobs' process trees, read from /proc once per period."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.scaling.counters import JobCounters, JobKey
from mythjobs.process import procfs
from mythjobs.process.supervise.usage import walk_tree

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Looking at open files takes longest, and a job rarely changes the disks that it uses. So it is
# done at the first readings, and then at every fifth.
_FIRST_READINGS: Final = 3
_READINGS: Final = 5
_MAX_FILES: Final = 200


@dataclass(slots=True)
class _Tree:
    """Usage of one job so far. Counters of a process vanish with it, so the growth of each process
    is added up; `waits` and `moved` have the last values by pid."""

    readings: int = 0
    cpu_s: float = 0.0
    wait_ns: int = 0
    moved_bytes: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    by_disk: Counter[str] = field(default_factory=Counter)
    disks: tuple[str, ...] = ()


class JobUsageReader:
    """Reads the usage of jobs by the pid of their leader. Without a cgroup it is a lower bound:
    processes that have lost their parent are not found."""

    def __init__(self, disks: DiskMap, default_path: str) -> None:
        """default_path: path on the disk that counts as used by jobs without an open file."""
        self._disk_map = disks
        default = disks.find_for_path(default_path)
        self._default_disks = () if default is None else (default,)
        self._trees: dict[JobKey, _Tree] = {}

    def read(self, leaders: Mapping[JobKey, int]) -> dict[JobKey, JobCounters]:
        """Return the usage of each job since its start, by the pids of their leaders."""
        return {
            key: self._read_tree(self._trees.setdefault(key, _Tree()), pid)
            for key, pid in leaders.items()
        }

    def forget(self, key: JobKey) -> None:
        self._trees.pop(key, None)

    def split_bytes(self, key: JobKey, moved_bytes: int) -> dict[str, int]:
        """Return the bytes that an ended job has moved, by disk: as at its last reading."""
        tree = self._trees.get(key)
        disks = (tree.disks if tree else ()) or self._default_disks
        seen = dict(tree.by_disk) if tree else {}
        rest = max(moved_bytes - sum(seen.values()), 0)
        for disk in disks:
            seen[disk] = seen.get(disk, 0) + rest // len(disks)
        return seen

    def _read_tree(self, tree: _Tree, leader: int) -> JobCounters:
        pids = list(walk_tree(leader))
        if tree.readings < _FIRST_READINGS or tree.readings % _READINGS == 0:
            tree.disks = self._find_disks(pids) or tree.disks or self._default_disks
        tree.readings += 1
        ticks = pages = moved = 0
        waits = {}
        for pid in pids:
            fields = procfs.read_stat_fields(pid)
            if not fields:
                continue
            # Fields 14 to 17 of /proc/PID/stat: the process, and the children that it waited for.
            ticks += sum(map(int, fields[11:15]))
            pages += int(fields[21])
            moved += sum(procfs.read_disk_io_bytes(pid))
            waits[pid] = _read_wait_ns(pid)
        tree.wait_ns += sum(max(wait - tree.waits.get(pid, 0), 0) for pid, wait in waits.items())
        tree.waits = waits
        # Sums fall when an orphan leaves the tree: keep the highest.
        tree.cpu_s = max(tree.cpu_s, ticks / _TICKS_PER_S)
        grown, tree.moved_bytes = max(moved - tree.moved_bytes, 0), max(moved, tree.moved_bytes)
        for disk in tree.disks:
            tree.by_disk[disk] += grown // len(tree.disks)
        memory_bytes = pages * _PAGE_BYTES
        return JobCounters(tree.cpu_s, tree.wait_ns / 1e9, memory_bytes, dict(tree.by_disk))

    def _find_disks(self, pids: list[int]) -> tuple[str, ...]:
        """Return the disks of the regular files that the processes have open."""
        found: dict[str, None] = {}
        count = 0
        for pid in pids:
            directory = f"/proc/{pid}/fd"
            try:
                names = procfs.list_directory(directory)
            except OSError:
                continue  # the process is gone, or belongs to another user
            for name in names[: _MAX_FILES - count]:
                count += 1
                try:
                    status = os.stat(f"{directory}/{name}")
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode) and (disk := self._disk_map.find(status.st_dev)):
                    found[disk] = None
        return tuple(found)


def _read_wait_ns(pid: int) -> int:
    """Return how long the threads of a process have waited for a core (sched-stats.rst)."""
    total = 0
    try:
        for thread in procfs.list_directory(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb", buffering=0) as file:
                total += int(file.read(100).split()[1])
    except (OSError, IndexError, ValueError):
        # The thread is gone, or the kernel has no such statistics.
        pass
    return total
