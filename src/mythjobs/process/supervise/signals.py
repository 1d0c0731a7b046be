"""Signals to process trees: delivery to the leader's process group and to processes outside it,
kill, freeze and thaw."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

from mythjobs.process import procfs
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.reserve import is_shortage
from mythjobs.process.supervise.child import Child


def send_signal(pid: int, number: int) -> bool:
    """Signal a process, or a process group if `pid` is negative. Return False if it does not exist
    or signalling it is not permitted."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_tree(child: Child, members: Sequence[ProcessInfo], number: int) -> int:
    """Signal the leader's process group, then each member of the tree outside it. Return how many
    processes got the signal.

    The leader must not have been reaped. The group gets one signal as a whole, so that no member
    can fork a process that misses it.
    """
    # Find the members outside the group first: a member that dies of the signal leaves the group.
    outside = [
        each for each in members if not (child.is_session_leader and _is_in_group(each, child.pid))
    ]
    count = 0
    if child.is_session_leader and send_signal(-child.pid, number):
        count = len(members) - len(outside)
    for process in outside:
        count += signal_process(process, number)
    return count


def kill_tree(child: Child, members: list[ProcessInfo]) -> None:
    """Kill all processes in the child's cgroup together, so that no fork escapes; without a cgroup,
    kill `members`."""
    if child.cgroup:
        child.cgroup.kill()
    else:
        signal_tree(child, members, signal.SIGKILL)


def signal_process(process: ProcessInfo, number: int) -> bool:
    """Signal a process through a pidfd, unless its pid was reused since `process` was read. Return
    whether it got the signal."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError as error:
        # No descriptor is free for a pidfd: signal by pid. The pid could be reused only between the
        # two calls in this line.
        return is_shortage(error) and _is_same(process) and send_signal(process.pid, number)
    try:
        if not _is_same(process):
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_same(process: ProcessInfo) -> bool:
    now = procfs.read_process(process.pid)
    return now is not None and not now.is_dead and now.start_time_ms == process.start_time_ms


def _is_in_group(process: ProcessInfo, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def freeze_tree(child: Child, find: Callable[[], list[ProcessInfo]]) -> None:
    """Freeze the process tree of a child: its cgroup, or without one the members that `find`
    returns, with SIGSTOP. Raises OSError if descriptors or memory are lacking."""
    if child.cgroup:
        child.cgroup.freeze()
        return
    stopped: set[int] = set()
    # Search again until nothing new is found: a process that forks between search and signal has a
    # child that is not stopped.
    while new := [each for each in find() if each.pid not in stopped]:
        signal_tree(child, new, signal.SIGSTOP)
        stopped.update(each.pid for each in new)


def thaw_tree(child: Child, find: Callable[[], list[ProcessInfo]]) -> None:
    """Thaw the process tree of a child. Raises OSError if descriptors or memory are lacking."""
    if child.cgroup:
        child.cgroup.thaw()
    else:
        signal_tree(child, find(), signal.SIGCONT)
