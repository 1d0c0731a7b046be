"""Resource limits that are set on a child with prlimit(2), after its exec."""

from __future__ import annotations

import resource

from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import find_members

# RLIMIT_NOFILE (soft, hard) for children, if this process raised its own.
_inherited_nofile: tuple[int, int] | None = None


def raise_nofile_limit() -> None:
    """Raise the soft limit of open files to the hard limit.

    Each job takes a few descriptors, and this limit should not bound the number of jobs. Jobs
    keep the original limit: some programs close every possible descriptor.
    """
    global _inherited_nofile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _inherited_nofile = (soft, hard)
    except (OSError, ValueError):
        pass


def set_initial_rlimits(child: Child) -> None:
    """Set the limits of a new process; runs in the spawn pool."""
    if _inherited_nofile:
        try:
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, _inherited_nofile)
        except (OSError, ValueError):
            pass
    child.cpu_rlimit_s = child.limits.cpu_s
    if child.cpu_rlimit_s is not None:
        try:
            _, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
            soft = _soft_limit(child.cpu_rlimit_s, hard)
            resource.prlimit(child.pid, resource.RLIMIT_CPU, (soft, hard))
        except (OSError, ValueError):
            # The process has exited or changed its user.
            pass


def update_cpu_rlimit(child: Child) -> None:
    """Set RLIMIT_CPU of every process of the tree to follow the tree's `cpu_s`.

    The kernel enforces it per process, even if the supervisor is late or dead. An exit by
    SIGXCPU counts as a breach of `cpu_s`.
    """
    before_s, now_s = child.cpu_rlimit_s, child.limits.cpu_s
    if before_s == now_s:
        return
    child.cpu_rlimit_s = now_s
    changed = True
    while changed:
        # A process forked during the search has its parent's limit; the next search finds it.
        changed = (
            sum(_update_process(each.pid, before_s, now_s) for each in find_members(child)) > 0
        )


def _update_process(pid: int, before_s: float | None, now_s: float | None) -> bool:
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
        wanted = _soft_limit(now_s, hard)
        # A tighter limit that the process set itself stays.
        is_own = _is_below(soft, wanted) and soft != _soft_limit(before_s, hard)
        if soft == wanted or is_own:
            return False
        resource.prlimit(pid, resource.RLIMIT_CPU, (wanted, hard))
    except (OSError, ValueError):
        # The process has exited or changed its user.
        return False
    return True


def _soft_limit(cpu_s: float | None, hard: int) -> int:
    if cpu_s is None:
        return hard
    soft = int(cpu_s) + 2
    return soft if hard == resource.RLIM_INFINITY else min(soft, hard)


def _is_below(one: int, other: int) -> bool:
    if one == resource.RLIM_INFINITY:
        return False
    return other == resource.RLIM_INFINITY or one < other
