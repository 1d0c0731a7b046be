"""Processes that a job left without a parent. They are ours now (subreaper): know, end, reap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from resource import struct_rusage
from typing import Final

from mythjobs.process import procfs
from mythjobs.process.kernel import WNOTHREAD
from mythjobs.process.procfs import Process

# The kernel hands an orphan to the first thread of its new parent (find_new_reaper() in
# kernel/exit.c), which is the loop's; what the spawners start are children of theirs. So
# "children of this thread" is "orphans", in one call and without a list of all children.
_ORPHANS: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT | WNOTHREAD


def any_left() -> bool:
    """Whether there is an orphan at all, alive or to be reaped. Costs a microsecond."""
    try:
        os.waitid(os.P_ALL, 0, _ORPHANS)
    except ChildProcessError:
        return False
    return True


def any_dead() -> bool:
    """Whether there is an orphan to be reaped."""
    try:
        return os.waitid(os.P_ALL, 0, _ORPHANS) is not None
    except ChildProcessError:
        return False


def reap() -> Iterator[tuple[Process | None, struct_rusage]]:
    """Every orphan that has died, with what it used, and gone once the next is asked for."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, _ORPHANS)
        except ChildProcessError:
            return
        if found is None:
            return
        # A zombie has its session still; once reaped, nothing tells whose it was.
        process = procfs.read_process(found.si_pid)
        _, _, usage = os.wait4(found.si_pid, 0)
        yield process, usage


def living() -> list[Process]:
    pids = procfs.children(os.getpid(), os.getpid())
    found = (procfs.read_process(pid) for pid in pids)
    return [process for process in found if process and not process.dead]
