"""Limits of the kernel that are set on a child from outside, right after its exec."""

from __future__ import annotations

import resource

from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import members

# What children are to have, if we have more for ourselves.
_before: tuple[int, int] | None = None


def raise_descriptors() -> None:
    """As many as we may have: a job takes a few, and how many may run is not for this limit to
    say. Jobs get what there was before, for programs exist that close every possible one."""
    global _before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _before = (soft, hard)
    except (OSError, ValueError):
        pass


def settle(child: Child) -> None:
    """After its spawn, in the spawner's thread."""
    if _before:
        try:
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, _before)
        except (OSError, ValueError):
            pass
    child.backstop_s = child.limits.cpu_s
    if child.backstop_s is not None:
        try:
            _, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
            soft = _soft(child.backstop_s, hard)
            resource.prlimit(child.pid, resource.RLIMIT_CPU, (soft, hard))
        except (OSError, ValueError):
            # It is over already, or has become another user.
            pass


def move_backstop(child: Child) -> None:
    """The kernel's own limit of CPU time, for each process by itself: should we be late or
    dead, it stands. What it ends by SIGXCPU is a breach as ours is. It follows the limit of
    the tree, tighter or looser; nothing is done while that is as it was."""
    before_s, now_s = child.backstop_s, child.limits.cpu_s
    if before_s == now_s:
        return
    child.backstop_s = now_s
    moved = True
    while moved:
        # Who was forked while we looked has what its parent had, and is seen the next time.
        moved = sum(_move(each.pid, before_s, now_s) for each in members(child)) > 0


def _move(pid: int, before_s: float | None, now_s: float | None) -> bool:
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
        wanted = _soft(now_s, hard)
        # A tighter one that is not from us it has set itself, and keeps.
        its_own = _is_below(soft, wanted) and soft != _soft(before_s, hard)
        if soft == wanted or its_own:
            return False
        resource.prlimit(pid, resource.RLIMIT_CPU, (wanted, hard))
    except (OSError, ValueError):
        # It is over already, or has become another user.
        return False
    return True


def _soft(cpu_s: float | None, hard: int) -> int:
    if cpu_s is None:
        return hard
    most = int(cpu_s) + 2
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _is_below(one: int, other: int) -> bool:
    if one == resource.RLIM_INFINITY:
        return False
    return other == resource.RLIM_INFINITY or one < other
