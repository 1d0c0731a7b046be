"""Sending signals to processes that may be gone, and to a group and those who left it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from mythjobs.process import procfs
from mythjobs.process.procfs import Process
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import members


def send(pid: int, number: int) -> bool:
    """A negative pid is a group. That it is gone already, or not ours to end, is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def send_all(child: Child, members: Sequence[Process], number: int) -> int:
    """To the group of a leader that is not reaped, then to those who have left it; how many.

    The group at once: none of it can fork its way out between two signals of ours.
    """
    # Counted before: who dies of it at once is in no group any more.
    apart = [each for each in members if not (child.session and _is_in_group(each, child.pid))]
    count = len(members) - len(apart) if child.session and send(-child.pid, number) else 0
    for process in apart:
        count += send_surely(process, number)
    return count


def kill_all(child: Child, found: list[Process]) -> None:
    """At once, where that can be: what forks meanwhile would else get away from us."""
    if child.tree:
        child.tree.kill()
    else:
        send_all(child, found, signal.SIGKILL)


def send_surely(process: Process, number: int) -> bool:
    """Through a pidfd, and only if the number was not given to another since we looked."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = procfs.read_process(process.pid)
        if now is None or now.dead or now.born_ms != process.born_ms:
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_in_group(process: Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def freeze(child: Child, run_ms: int) -> None:
    child.frozen_since_ms = run_ms
    if child.tree:
        child.tree.freeze()
        return
    stopped: set[int] = set()
    # Who forks between our look and our signal has a child that we see the next time.
    while new := [each for each in members(child) if each.pid not in stopped]:
        send_all(child, new, signal.SIGSTOP)
        stopped.update(each.pid for each in new)


def thaw(child: Child, run_ms: int) -> int:
    """For how many milliseconds it was frozen; they do not count for its limits."""
    since_ms, child.frozen_since_ms = child.frozen_since_ms, None
    frozen_ms = 0 if since_ms is None else run_ms - since_ms
    child.frozen_ms += frozen_ms
    if child.tree:
        child.tree.thaw()
    else:
        send_all(child, members(child), signal.SIGCONT)
    return frozen_ms
