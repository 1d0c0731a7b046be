"""What a tree uses while it runs, by walking down from its leader in /proc."""

from __future__ import annotations

import os
from typing import Final

from mythjobs.clock import machine_now
from mythjobs.model.limits import Usage
from mythjobs.process import tree
from mythjobs.process.child import Child

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def usage(child: Child) -> Usage | None:
    """None once its leader is gone. Not exact: who lost its parent, or died and was not waited
    for, is missing. `peak_bytes` is what its tree has resident now, if more than was seen."""
    assert child.born
    wall_s = (machine_now().run_ms - child.born.run_ms) / 1000
    user = system = resident = count = read = written = switches = 0
    waiting = [child.pid]
    while waiting:
        pid = waiting.pop()
        fields = tree.stat_fields(pid)
        if not fields:
            continue
        # proc(5), /proc/pid/stat: 14 to 17 are its own time and that of those it waited for.
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        resident += int(fields[21])
        count += 1
        moved = tree.read_io(pid)
        read += moved[0]
        written += moved[1]
        waiting += tree.all_children(pid)
    if not count:
        return None
    return Usage(
        wall_s=wall_s,
        user_s=user / _TICKS,
        system_s=system / _TICKS,
        peak_bytes=max(child.peak_bytes, resident * _PAGE),
        read_bytes=read,
        written_bytes=written,
        switches=switches,
        exact=False,
    )
