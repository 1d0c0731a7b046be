"""Limits of the kernel that are set on a child from outside, right after its exec."""

from __future__ import annotations

import resource

from mythjobs.process.child import Child

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
    if child.limits.cpu_s is not None:
        set_backstop(child)


def set_backstop(child: Child) -> None:
    """The kernel's own limit of CPU time, for each process by itself: should we be late or
    dead, it stands. What it ends by SIGXCPU is a breach as ours is."""
    cpu_s = child.limits.cpu_s
    if cpu_s is None:
        return
    most = int(cpu_s) + 2
    try:
        _, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(child.pid, resource.RLIMIT_CPU, (soft, hard))
    except (OSError, ValueError):
        # It is over already, or has become another user.
        pass
