"""Preparation of a cgroup that systemd has delegated to this process (Delegate=yes)."""

from __future__ import annotations

import os
import time
from typing import Final

from mythjobs.process.cgroup import mounts
from mythjobs.process.cgroup.group import CgroupDirectory

_LEAF: Final = "mythjobs-reaper"
# Time to wait for the exit of this process's parent, which is in the same cgroup.
_WAIT_S: Final = 1.0


def prepare_delegated_cgroup() -> None:
    """If this process's cgroup is delegated to it, enable the controllers for child cgroups.

    A cgroup that contains processes cannot enable controllers (cgroup-v2.rst, "no internal
    processes"). So the process first moves into a child cgroup. Does nothing if the cgroup has
    other processes as well.
    """
    unified = mounts.read_cgroup_mounts().unified
    if unified is None or not mounts.is_delegated(unified):
        return
    own = CgroupDirectory(unified)
    deadline_s = time.monotonic() + _WAIT_S
    while own.list_pids() != [os.getpid()]:
        if time.monotonic() > deadline_s:
            return
        time.sleep(0.01)
    leaf = CgroupDirectory(own.file_path(_LEAF))
    try:
        leaf.create()
    except OSError:
        return
    if leaf.write("cgroup.procs", "0"):
        for controller in mounts.CONTROLLERS:
            own.write("cgroup.subtree_control", f"+{controller}")
