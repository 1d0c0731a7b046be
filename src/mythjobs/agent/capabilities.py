"""Capabilities of this machine, for the agent's hello to the master: the job limits that it can
enforce; and the directory of the agent's own programs."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

from mythjobs.process.cgroup import open_cgroup_pool

# Capabilities of every machine. None needs cgroups: timers, samples of each process tree's usage,
# and kernel calls per process (nice, ioprio) enforce them.
_ALWAYS: Final = (
    "leases", "windows", "freeze", "pause", "limits", "wall", "cpu", "idle", "output", "nice", "io",
)  # fmt: skip


def list_capabilities(cgroup_limits: frozenset[str] | None) -> tuple[str, ...]:
    """Return the limits and features that this machine's reaper enforces, even while no agent runs:
    a subset of messages.CAPABILITIES.

    `cgroup_limits` are the limits that cgroups enforce; None if no cgroups can be created.
    The limits `memory` and `processes` are listed only if cgroups enforce them: without cgroups
    the usage is only sampled, which notices a breach too late.
    """
    if cgroup_limits is None:
        return _ALWAYS
    return (*_ALWAYS, "contain", *sorted(cgroup_limits))


def detect_capabilities() -> tuple[str, ...]:
    """Return this machine's capabilities; create cgroups to find those that cgroups enforce, and
    remove these cgroups again."""
    pool = open_cgroup_pool()
    if pool is None:
        return list_capabilities(None)
    try:
        return list_capabilities(pool.enforced_limits())
    finally:
        pool.close()


def find_own_programs() -> str:
    """Return the directory of `mythjobs`, which jobs may call, if their PATH does not have it: the
    agent often runs from a virtual environment that is not in the PATH. Else return ""."""
    own = os.path.dirname(sys.executable)
    if shutil.which("mythjobs") or not os.access(os.path.join(own, "mythjobs"), os.X_OK):
        return ""
    return own
