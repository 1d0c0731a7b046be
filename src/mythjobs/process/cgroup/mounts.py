"""Cgroup mounts and the cgroups of this process (cgroups(7), proc(5))."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from mythjobs.model.mountinfo import MountEntry, parse_mountinfo
from mythjobs.process.reserve import is_shortage

# Cgroup controllers that enforce limits of jobs.
CONTROLLERS: Final = ("pids", "memory")


class CgroupMounts(NamedTuple):
    """Directories of the cgroups that this process is in: `unified` in the v2 hierarchy,
    `controllers` by v1 controller.

    `unified` is None, and `controllers` lacks a controller, if the hierarchy is not mounted or its
    mount does not show the cgroup of this process.
    """

    unified: str | None
    controllers: dict[str, str]


def parse_cgroup_mounts(mountinfo: bytes, cgroup: bytes) -> CgroupMounts:
    """Parse the contents of /proc/self/mountinfo and /proc/self/cgroup."""
    own_paths = _parse_own_paths(os.fsdecode(cgroup))
    wanted = own_paths.keys() & CONTROLLERS
    unified: str | None = None
    controllers: dict[str, str] = {}
    for mount in parse_mountinfo(mountinfo):
        if mount.kind == "cgroup2" and "" in own_paths and unified is None:
            unified = _resolve_directory(mount, own_paths[""])
        elif mount.kind == "cgroup":
            for name in wanted.intersection(mount.options.split(",")) - controllers.keys():
                if directory := _resolve_directory(mount, own_paths[name]):
                    controllers[name] = directory
    return CgroupMounts(unified, controllers)


def read_cgroup_mounts() -> CgroupMounts:
    """Return the cgroup directories of this process; none if /proc cannot be read.

    Raises OSError if this process lacks descriptors or memory.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as mounts, open("/proc/self/cgroup", "rb") as own:
            return parse_cgroup_mounts(mounts.read(), own.read())
    except OSError as error:
        if is_shortage(error):
            raise
        return CgroupMounts(None, {})


def find_ancestor_with_controllers(own_path: str) -> str | None:
    """Return the nearest writable ancestor of `own_path` that enables the controllers, or None.

    `own_path` itself cannot enable them while it contains processes (cgroup-v2.rst, "no internal
    processes"). The search stops at the cgroup that systemd marked as delegated: systemd manages
    the cgroups above it, and even root must not change them.
    """
    found = None
    path = own_path
    while not is_delegated(path):
        path = os.path.dirname(path)
        if not os.path.exists(f"{path}/cgroup.procs"):
            return None
        if found is None and _delegates_controllers(path) and os.access(path, os.W_OK):
            found = path
    return found


def is_delegated(path: str) -> bool:
    """Return whether systemd has marked the cgroup as delegated to the processes in it."""
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _delegates_controllers(path: str) -> bool:
    try:
        with open(f"{path}/cgroup.subtree_control", encoding="ascii") as file:
            return set(CONTROLLERS) <= set(file.read().split())
    except OSError:
        return False


def _parse_own_paths(cgroup: str) -> dict[str, str]:
    """Return this process's cgroup paths by v1 controller, and under "" its path in the v2
    hierarchy."""
    found: dict[str, str] = {}
    for line in cgroup.split("\n")[:-1]:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _resolve_directory(mount: MountEntry, path: str) -> str | None:
    """Return the directory of the cgroup `path` in a mounted hierarchy; None if the mount does not
    show this cgroup."""
    if mount.root == "/":
        return os.path.normpath(mount.point + path)
    if path == mount.root or path.startswith(mount.root + "/"):
        return os.path.normpath(mount.point + path.removeprefix(mount.root))
    return None
