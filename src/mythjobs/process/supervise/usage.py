"""What a tree uses while it runs: from its container, or by looking at its processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from resource import struct_rusage
from typing import Final

from mythjobs.clock import machine_now
from mythjobs.model.limits import Usage
from mythjobs.process import procfs
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import members
from mythjobs.process.supervise.limit_check import Seen

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def usage(child: Child) -> Usage | None:
    """None once its leader is gone. `peak_bytes` is what is resident now, if that is more than
    was seen. Without a container it is not exact: who lost its parent is missing."""
    assert child.born
    found = _sum(_walk(child.pid))
    if not found.processes:
        return None
    now = Usage(
        wall_s=(machine_now().run_ms - child.born.run_ms) / 1000,
        user_s=child.usage.user_s + found.user / _TICKS,
        system_s=child.usage.system_s + found.system / _TICKS,
        peak_bytes=max(child.peak_bytes, found.resident * _PAGE),
        read_bytes=child.usage.read_bytes + found.read,
        written_bytes=child.usage.written_bytes + found.written,
        switches=child.usage.switches,
        processes=found.processes,
        exact=False,
    )
    return of_tree(now, child.tree.usage()) if child.tree else now


def look(child: Child) -> Seen:
    """As much as its limits need to know."""
    pids = [each.pid for each in members(child)]
    moved = sum(map(procfs.moved_bytes, pids)) if child.limits.idle_s is not None else 0
    found = _sum(pids)
    cpu_s = child.usage.cpu_s + (found.user + found.system) / _TICKS
    if child.tree:
        cpu_s = child.tree.usage().cpu_s
    return Seen(cpu_s, moved, child.written, found.resident * _PAGE, found.processes)


class _Sum:
    """Clock ticks, pages and bytes, of all together."""

    __slots__ = ("processes", "read", "resident", "system", "user", "written")

    def __init__(self) -> None:
        self.user = self.system = self.resident = self.processes = self.read = self.written = 0


def _sum(pids: Iterable[int]) -> _Sum:
    total = _Sum()
    for pid in pids:
        fields = procfs.stat_fields(pid)
        if not fields:
            continue
        # proc(5), /proc/pid/stat: 14 to 17 are its own time and that of those it waited for.
        total.user += int(fields[11]) + int(fields[13])
        total.system += int(fields[12]) + int(fields[14])
        total.resident += int(fields[21])
        total.processes += fields[0] not in (b"Z", b"X")
        read, written = procfs.read_io(pid)
        total.read += read
        total.written += written
    return total


def _walk(leader: int) -> Iterator[int]:
    """Down from the leader. It costs by the size of its tree, not by that of the machine."""
    waiting = [leader]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += procfs.all_children(pid)


_floor_bytes = 0


def add(usage: Usage, more: struct_rusage, wall_s: float, seen_bytes: int = 0) -> Usage:
    """With what one more process used, and the children that it waited for (getrusage(2)).

    `seen_bytes` is the peak that was seen of it while it ran. Until its exec it had our memory
    (vfork), and ru_maxrss counts that: a figure no larger than our own peak says nothing.
    """
    peak_bytes = more.ru_maxrss * 1024
    if peak_bytes <= _our_peak(peak_bytes):
        peak_bytes = seen_bytes
    return Usage(
        wall_s=max(usage.wall_s, wall_s),
        user_s=usage.user_s + more.ru_utime,
        system_s=usage.system_s + more.ru_stime,
        peak_bytes=max(usage.peak_bytes, peak_bytes),
        read_bytes=usage.read_bytes + more.ru_inblock * 512,
        written_bytes=usage.written_bytes + more.ru_oublock * 512,
        switches=usage.switches + more.ru_nvcsw + more.ru_nivcsw,
        processes=usage.processes,
        exact=usage.exact,
    )


def of_tree(usage: Usage, container: Usage) -> Usage:
    """CPU as its container counted it, which misses nothing; the rest as far as it did."""
    return Usage(
        wall_s=usage.wall_s,
        user_s=container.user_s,
        system_s=container.system_s,
        peak_bytes=max(usage.peak_bytes, container.peak_bytes),
        read_bytes=max(usage.read_bytes, container.read_bytes),
        written_bytes=max(usage.written_bytes, container.written_bytes),
        switches=usage.switches,
        processes=max(usage.processes, container.processes),
        exact=True,
    )


def at_least(usage: Usage, seen: Usage) -> Usage:
    """No less than what was seen of the tree while it ran; that there is more than what was
    waited for says that not all was."""
    return Usage(
        wall_s=usage.wall_s,
        user_s=max(usage.user_s, seen.user_s),
        system_s=max(usage.system_s, seen.system_s),
        peak_bytes=max(usage.peak_bytes, seen.peak_bytes),
        read_bytes=max(usage.read_bytes, seen.read_bytes),
        written_bytes=max(usage.written_bytes, seen.written_bytes),
        switches=usage.switches,
        processes=max(usage.processes, seen.processes),
        exact=usage.exact and seen.cpu_s <= usage.cpu_s,
    )


def _our_peak(asked_bytes: int) -> int:
    """Read again only when a figure lies above what we know: it never falls."""
    global _floor_bytes
    if asked_bytes > _floor_bytes:
        _floor_bytes = max(_floor_bytes, peak_of("self"))
    return _floor_bytes


def peak_of(pid: int | str) -> int:
    """The largest resident set that it ever had, 0 if it is gone (proc(5), VmHWM)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    at = text.find(b"VmHWM:")
    return int(text[at + 6 :].split(None, 1)[0]) * 1024 if at >= 0 else 0
