"""What a tree uses while it runs: from its container, or by looking at its processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from mythjobs.clock import machine_now
from mythjobs.model.limits import Usage
from mythjobs.process import procfs
from mythjobs.process.supervise import used
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import members
from mythjobs.process.supervise.watchman import Seen

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
    return used.of_tree(now, child.tree.usage()) if child.tree else now


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
