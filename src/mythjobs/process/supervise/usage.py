"""Resource usage of process trees, from cgroups, /proc and wait4(2)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from resource import struct_rusage
from typing import Final

from mythjobs.clock import machine_now
from mythjobs.model.limits import Usage
from mythjobs.process import procfs
from mythjobs.process.reserve import use_file
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import find_members
from mythjobs.process.supervise.limit_check import TreeSample

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def read_usage(child: Child) -> Usage | None:
    """Return the usage of a child's process tree so far, or None if the leader is gone.

    `peak_bytes` is at least the current resident size. Without a cgroup the figures are not
    exact, because processes that have lost their parent are not counted.
    """
    assert child.spawned_at
    found = _sum_processes(walk_tree(child.pid))
    if not found.processes:
        return None
    now = replace(
        found,
        wall_s=(machine_now().run_ms - child.spawned_at.run_ms) / 1000,
        user_s=child.usage.user_s + found.user_s,
        system_s=child.usage.system_s + found.system_s,
        peak_bytes=max(child.peak_bytes, found.peak_bytes),
        read_bytes=child.usage.read_bytes + found.read_bytes,
        written_bytes=child.usage.written_bytes + found.written_bytes,
        switches=child.usage.switches,
    )
    return merge_cgroup(now, child.cgroup.read_usage()) if child.cgroup else now


def read_sample(child: Child) -> TreeSample:
    """Return the figures of a child's process tree that limit checks need."""
    pids = [each.pid for each in find_members(child)]
    transferred = 0
    if child.limits.idle_s is not None:
        transferred = sum(map(procfs.read_transferred_bytes, pids))
    found = _sum_processes(pids)
    cpu_s = child.usage.cpu_s + found.cpu_s
    if child.cgroup:
        cpu_s = child.cgroup.read_usage().cpu_s
    return TreeSample(cpu_s, transferred, child.written_bytes, found.peak_bytes, found.processes)


def _sum_processes(pids: Iterable[int]) -> Usage:
    """Return the sum of these processes' usage. `peak_bytes` is their current resident size."""
    user_ticks = system_ticks = pages = read_bytes = written_bytes = processes = 0
    for pid in pids:
        fields = procfs.read_stat_fields(pid)
        if not fields:
            continue
        # Fields 14 to 17 of /proc/PID/stat are the CPU times of the process and of the children
        # that it has waited for (proc(5)).
        user_ticks += int(fields[11]) + int(fields[13])
        system_ticks += int(fields[12]) + int(fields[14])
        pages += int(fields[21])
        processes += fields[0] not in (b"Z", b"X")
        read, written = procfs.read_disk_io_bytes(pid)
        read_bytes += read
        written_bytes += written
    return Usage(
        user_s=user_ticks / _TICKS_PER_S,
        system_s=system_ticks / _TICKS_PER_S,
        peak_bytes=pages * _PAGE_BYTES,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        processes=processes,
        exact=False,
    )


def walk_tree(leader: int) -> Iterator[int]:
    """Yield the pids of a leader and its descendants, from parent to child. The cost depends on the
    size of this tree only, not on the number of processes of the machine."""
    waiting = [leader]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += procfs.list_children(pid)


# The kernel counts pages in batches of each CPU, so that two readings of one peak differ
# (percpu_counter in mm/util.c and lib/percpu_counter.c), and ru_maxrss may exceed VmHWM.
_CPUS: Final = os.cpu_count() or 1
_PEAK_ERROR_BYTES: Final = 2**20 + max(32, 2 * _CPUS) * _CPUS * _PAGE_BYTES
_own_peak_bytes = 0


def add_rusage(
    usage: Usage,
    rusage: struct_rusage | None,
    wall_s: float,
    seen_peak_bytes: int = 0,
    exact: bool = True,
) -> Usage:
    """Return `usage` plus the usage of a reaped process and of the children that it waited for
    (getrusage(2)). `wall_s` is the time that it ran. `exact` False means that descendants may be
    missing.

    `rusage` is None if another part of the host program has reaped the process: the result is
    then not exact.

    `seen_peak_bytes` is the peak memory observed while the process ran. It is used instead of
    ru_maxrss if that is not above this process's own peak: ru_maxrss counts this process's
    memory, which the child shared between vfork and exec.
    """
    if rusage is None:
        peak_bytes = max(usage.peak_bytes, seen_peak_bytes)
        return replace(usage, wall_s=max(usage.wall_s, wall_s), peak_bytes=peak_bytes, exact=False)
    peak_bytes = rusage.ru_maxrss * 1024
    if _is_own_peak(peak_bytes):
        peak_bytes = seen_peak_bytes
    return Usage(
        wall_s=max(usage.wall_s, wall_s),
        user_s=usage.user_s + rusage.ru_utime,
        system_s=usage.system_s + rusage.ru_stime,
        peak_bytes=max(usage.peak_bytes, peak_bytes),
        read_bytes=usage.read_bytes + rusage.ru_inblock * 512,
        written_bytes=usage.written_bytes + rusage.ru_oublock * 512,
        switches=usage.switches + rusage.ru_nvcsw + rusage.ru_nivcsw,
        processes=usage.processes,
        exact=usage.exact and exact,
    )


def complete_usage(child: Child) -> Usage:
    """Return the usage of an ended child with what its cgroup, or samples of its tree, say."""
    usage = child.usage
    if child.cgroup:
        try:
            usage = merge_cgroup(usage, child.cgroup.read_usage())
        except OSError:
            # The cgroup cannot be read for lack of descriptors or memory.
            usage = replace(usage, exact=False)
    elif child.usage_at_stop:
        usage = merge_sampled(usage, child.usage_at_stop)
    return replace(usage, frozen_s=child.frozen_ms / 1000) if child.frozen_ms else usage


def merge_cgroup(usage: Usage, cgroup: Usage) -> Usage:
    """Return the CPU time of the cgroup, which counts all processes, and for each other figure the
    higher one of `usage` and `cgroup`.

    The cgroup may lack the last milliseconds for a moment (cgroup_rstat_updated() in
    kernel/cgroup/rstat.c): then `usage` has more CPU time, and is returned.
    """
    cpu = usage if usage.cpu_s > cgroup.cpu_s else cgroup
    return replace(
        usage,
        user_s=cpu.user_s,
        system_s=cpu.system_s,
        peak_bytes=max(usage.peak_bytes, cgroup.peak_bytes),
        read_bytes=max(usage.read_bytes, cgroup.read_bytes),
        written_bytes=max(usage.written_bytes, cgroup.written_bytes),
        processes=max(usage.processes, cgroup.processes),
        exact=True,
    )


def merge_sampled(usage: Usage, sampled: Usage) -> Usage:
    """Return for each figure the higher one of `usage`, from wait4(2), and `sampled`. The result is
    not exact if the sample has more CPU time: then some process was not waited for."""
    return replace(
        usage,
        user_s=max(usage.user_s, sampled.user_s),
        system_s=max(usage.system_s, sampled.system_s),
        peak_bytes=max(usage.peak_bytes, sampled.peak_bytes),
        read_bytes=max(usage.read_bytes, sampled.read_bytes),
        written_bytes=max(usage.written_bytes, sampled.written_bytes),
        processes=max(usage.processes, sampled.processes),
        exact=usage.exact and sampled.cpu_s <= usage.cpu_s,
    )


def _is_own_peak(peak_bytes: int) -> bool:
    """Return whether a peak resident set size may be this process's own. The own peak never falls,
    so it is read again only if the last value read is too low."""
    global _own_peak_bytes
    if peak_bytes > _own_peak_bytes + _PEAK_ERROR_BYTES:
        _own_peak_bytes = max(_own_peak_bytes, read_peak_bytes("self"))
    return peak_bytes <= _own_peak_bytes + _PEAK_ERROR_BYTES


def read_tree_peak_bytes(leader: int) -> int:
    """Return the largest peak resident set size of the leader and its descendants; 0 if unknown."""
    try:
        return max(map(read_peak_bytes, walk_tree(leader)))
    except OSError:
        # /proc cannot be read for lack of descriptors or memory.
        return 0


def read_peak_bytes(pid: int | str) -> int:
    """Return the peak resident set size of a process (VmHWM in proc(5)), or 0 if it is gone."""
    try:
        text = use_file(f"/proc/{pid}/status", os.O_RDONLY, lambda fd: os.read(fd, 4096))
    except OSError:
        return 0
    at = text.find(b"VmHWM:")
    return int(text[at + 6 :].split(None, 1)[0]) * 1024 if at >= 0 else 0
