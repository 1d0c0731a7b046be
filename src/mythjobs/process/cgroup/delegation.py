"""Use of a cgroup that systemd has delegated to this process."""

from __future__ import annotations

import os
import time
from typing import Final

from mythjobs.process.cgroup import mounts
from mythjobs.process.cgroup.group import CgroupDirectory

_LEAF: Final = "mythjobs-reaper"
# How long to wait for the exit of this process's parent, which is in the same cgroup.
_WAIT_S: Final = 1.0


def prepare_delegated_cgroup() -> None:
    """Enable controllers for children of this process's cgroup if that is delegated to it.

    A cgroup with processes cannot do that (cgroup-v2.rst, "no internal processes"), so the process
    moves into a child. Does nothing if other processes are in the cgroup as well.
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
