"""The kernel's own limit of CPU time, behind ours."""

from __future__ import annotations

import resource

from mythjobs.process.child import Child


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
