"""Usage of running jobs' process trees, read once per period from their cgroups and /proc."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.gpu_usage import GpuUsage, has_gpu, read_gpu_usage
from mythjobs.agent.measurement.job_cgroup import JobCgroup, find_mount_point
from mythjobs.agent.scaling.counters import JobCounters, JobKey
from mythjobs.process import procfs
from mythjobs.process.cgroup.mounts import read_cgroup_mounts
from mythjobs.process.supervise.usage import walk_tree

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Looking at open files takes longest, and a job rarely changes the disks that it uses. So it is
# done at the first readings, and then at every fifth.
_FIRST_READINGS: Final = 3
_READINGS: Final = 5
_MAX_FILES: Final = 200
_MOUNT_ID: Final = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)


@dataclass(slots=True)
class _Tree:
    """Usage of one job so far. Counters of a process vanish with it, so the growth of each process
    is added up; `waits` and `moved` have the last values by pid. cgroup: if the job has one;
    cgroup_cpu_s, cgroup_bytes: its counters before the job began."""

    readings: int = 0
    cpu_s: float = 0.0
    wait_ns: int = 0
    moved_bytes: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    by_disk: Counter[str] = field(default_factory=Counter)
    disks: tuple[str, ...] = ()
    gpu_s: float = 0.0
    read_s: float = 0.0
    cgroup: JobCgroup | None = None
    cgroup_cpu_s: float | None = None
    cgroup_bytes: dict[str, int] | None = None


class JobUsageReader:
    """Reads the usage of jobs by the pid of their leader. Without a cgroup it is a lower bound:
    processes that have lost their parent are not found, and the CPU time of a child is missing
    while its parent has not waited for it. Memory, disks and waiting times are those of the
    processes in the cgroup; /proc alone tells how long all threads of a job have waited."""

    def __init__(self, disks: DiskMap, default_path: str) -> None:
        """default_path: path on the disk that counts as used by jobs without an open file."""
        self._disk_map = disks
        default = disks.find_for_path(default_path)
        self._default_disks = () if default is None else (default,)
        self._trees: dict[JobKey, _Tree] = {}
        self._mount_point = find_mount_point(read_cgroup_mounts())
        self._has_gpu = has_gpu()

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
        is_first = not tree.readings
        if is_first:
            tree.cgroup = JobCgroup.find(self._mount_point, leader)
        pids = tree.cgroup.list_pids() if tree.cgroup else []
        if not pids:
            # Without a cgroup, or with one that is empty now.
            pids = list(walk_tree(leader))
        if tree.readings < _FIRST_READINGS or tree.readings % _READINGS == 0:
            tree.disks = find_disks(self._disk_map, pids) or tree.disks or self._default_disks
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
        if tree.cgroup is not None:
            self._add_cgroup(tree, tree.cgroup, is_first=is_first)
        if is_first or not tree.cgroup_bytes:
            for disk in tree.disks:
                tree.by_disk[disk] += grown // len(tree.disks)
        if self._has_gpu:
            _add_gpu(tree, read_gpu_usage(pids), time.monotonic())
        memory_bytes = pages * _PAGE_BYTES
        by_disk = dict(tree.by_disk)
        return JobCounters(tree.cpu_s, tree.wait_ns / 1e9, memory_bytes, by_disk, tree.gpu_s)

    def _add_cgroup(self, tree: _Tree, cgroup: JobCgroup, *, is_first: bool) -> None:
        """Replace figures of /proc by those of the cgroup. The first reading only compares both: an
        earlier job may have used the cgroup."""
        cpu_s = cgroup.read_cpu_s()
        if is_first and cpu_s is not None:
            tree.cgroup_cpu_s = max(cpu_s - tree.cpu_s, 0.0)
        elif cpu_s is not None and tree.cgroup_cpu_s is not None:
            tree.cpu_s = max(tree.cpu_s, cpu_s - tree.cgroup_cpu_s)
        moved: dict[str, int] = {}
        for device, count in cgroup.read_moved_bytes().items():
            if disk := self._disk_map.find(device):
                moved[disk] = moved.get(disk, 0) + count
        if not is_first and tree.cgroup_bytes is not None:
            for disk, count in moved.items():
                tree.by_disk[disk] += max(count - tree.cgroup_bytes.get(disk, 0), 0)
        if moved or tree.cgroup_bytes is not None:
            tree.cgroup_bytes = moved


def find_disks(disk_map: DiskMap, pids: Iterable[int]) -> tuple[str, ...]:
    """Return the disks of the files and directories that the processes have open.

    Does not access the files themselves: stat() of a file on a network disk waits until its data is
    written, and for ever if the server is gone.
    """
    found: dict[str, None] = {}
    count = 0
    for pid in pids:
        try:
            names = procfs.list_directory(f"/proc/{pid}/fd")
            devices = disk_map.parse_mounts(_read_file(f"/proc/{pid}/mountinfo"))
        except OSError:
            continue  # the process is gone, or belongs to another user
        for name in names[: _MAX_FILES - count]:
            count += 1
            device = devices.get(_read_mount_id(pid, name))
            if device is not None and (disk := disk_map.find(device)):
                found[disk] = None
    return tuple(found)


def _read_mount_id(pid: int, fd: str) -> int:
    """Return the id of the mount of an open file; -1 if the file is closed by now. Pipes, sockets
    and the like have mounts that no mountinfo file lists."""
    try:
        info = _MOUNT_ID.search(_read_file(f"/proc/{pid}/fdinfo/{fd}"))
    except OSError:
        return -1
    return int(info[1]) if info else -1


def _read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _add_gpu(tree: _Tree, used: GpuUsage, now_s: float) -> None:
    """Add the use of GPUs since the last reading. A GPU whose driver does not count time counts as
    busy while it is open, so that one such job runs at a time."""
    elapsed_s = now_s - tree.read_s if tree.read_s else 0.0
    tree.read_s = now_s
    tree.gpu_s = max(tree.gpu_s + elapsed_s if used.has_session else tree.gpu_s, used.busy_s)


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
