"""Resource limits (getrlimit(2)) of children, set by the stub before exec and by prlimit(2) later,
and this process's own limit of open files."""

from __future__ import annotations

import resource
from typing import Final

from mythjobs.process.spawn.program import ChildSetup
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import find_members

# Number of descriptors that this process needs for each child (pidfd, pipes, output files, cgroup),
# and for itself.
_FDS_PER_CHILD: Final = 10
_OWN_FDS: Final = 64


class NofileLimit:
    """Raises this process's soft limit of open files, so that it does not bound the number of
    children.

    Children get the original limit, because some programs close every possible descriptor. Only
    the stub can set it before exec, and the stub costs time. So the limit is raised only when
    there are many children.
    """

    def __init__(self) -> None:
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # RLIMIT_NOFILE (soft, hard) to set for children: this process's original limit. None if
        # this process has not raised its own limit.
        self.inherited: tuple[int, int] | None = None

    def prepare_for(self, children: int) -> None:
        """Raise the limit if it is too low for this number of children."""
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
    """Return `setup` with RLIMIT_NOFILE set to `nofile`, unless the child sets its own, and with
    RLIMIT_CPU for the limit `cpu_s`. Runs in a thread of the spawn pool."""
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
    """Adapt RLIMIT_CPU of every process of the tree to the tree's limit `cpu_s` after a change.

    The kernel enforces RLIMIT_CPU for each process, even if the supervisor is late or dead. The
    death of the leader by SIGXCPU counts as a breach of `cpu_s`.

    Raises OSError if descriptors or memory are lacking; call it again then.
    """
    before_s, now_s = child.cpu_rlimit_s, child.limits.cpu_s
    if before_s == now_s:
        return
    changed = True
    while changed:
        # Search again after any change: a process that was forked during the search may have got
        # its parent's old limit.
        changed = (
            sum(_update_process(each.pid, before_s, now_s) for each in find_members(child)) > 0
        )
    child.cpu_rlimit_s = now_s


def _update_process(pid: int, before_s: float | None, now_s: float | None) -> bool:
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
        wanted = _soft_limit(now_s, hard)
        # Keep a tighter limit that the process has set itself.
        is_own = _is_below(soft, wanted) and soft != _soft_limit(before_s, hard)
        if soft == wanted or is_own:
            return False
        resource.prlimit(pid, resource.RLIMIT_CPU, (wanted, hard))
    except (OSError, ValueError):
        # prlimit(2) failed: the process has exited or changed its user.
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
