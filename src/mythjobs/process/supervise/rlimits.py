"""Resource limits of children: before exec through the stub, later with prlimit(2)."""

from __future__ import annotations

import resource
from typing import Final

from mythjobs.process.spawn.program import ChildSetup
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import find_members

# Descriptors of one child (pidfd, pipes, output files, cgroup), and of the process itself.
_FDS_PER_CHILD: Final = 10
_OWN_FDS: Final = 64


class NofileLimit:
    """Raises the soft limit of open files once there are many children.

    It should not bound their number. Children keep the original limit, since some programs close
    every possible descriptor; only the stub can set that in time (before exec), so the limit is
    not raised before it has to be.
    """

    def __init__(self) -> None:
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # (soft, hard) for children, if this process has raised its own.
        self.inherited: tuple[int, int] | None = None

    def prepare_for(self, children: int) -> None:
        """Provide descriptors for this many children."""
        if self._soft in (self._hard, resource.RLIM_INFINITY) or self.inherited:
            return
        if _OWN_FDS + children * _FDS_PER_CHILD > self._soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self._hard, self._hard))
            except (OSError, ValueError):
                self._hard = self._soft
            else:
                self.inherited = (self._soft, self._hard)


def add_initial_rlimits(
    setup: ChildSetup, child: Child, nofile: tuple[int, int] | None
) -> ChildSetup:
    """Return `setup` with the limits that the child's own do not set; runs in the spawn pool."""
    child.cpu_rlimit_s = child.limits.cpu_s
    if nofile is None and child.cpu_rlimit_s is None:
        return setup
    rlimits = dict(setup.rlimits or {})
    if nofile is not None:
        rlimits.setdefault(resource.RLIMIT_NOFILE, nofile)
    if child.cpu_rlimit_s is not None:
        number = resource.RLIMIT_CPU
        soft, hard = rlimits.get(number) or resource.getrlimit(number)
        wanted = _soft_limit(child.cpu_rlimit_s, hard)
        rlimits[number] = (soft if _is_below(soft, wanted) else wanted, hard)
    return setup._replace(rlimits=rlimits)


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
