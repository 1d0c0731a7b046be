"""Cgroup mounts and the cgroups of this process (cgroups(7), proc(5))."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

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


def parse_cgroup_mounts(mountinfo: str, cgroup: str) -> CgroupMounts:
    """Parse the contents of /proc/self/mountinfo and /proc/self/cgroup."""
    own_paths = _parse_own_paths(cgroup)
    unified: str | None = None
    controllers: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if kind[0] == "cgroup2" and "" in own_paths and unified is None:
            unified = _resolve_directory(point, root, own_paths[""])
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                if name in CONTROLLERS and name in own_paths and name not in controllers:
                    found = _resolve_directory(point, root, own_paths[name])
                    if found is not None:
                        controllers[name] = found
    return CgroupMounts(unified, controllers)


def read_cgroup_mounts() -> CgroupMounts:
    """Return the cgroup directories of this process; none if /proc cannot be read.

    Raises OSError if this process lacks descriptors or memory.
    """
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return parse_cgroup_mounts(mountinfo, file.read())
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
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _resolve_directory(point: str, root: str, path: str) -> str | None:
    """Return the directory of the cgroup `path` below the mount `point`, which shows the subtree
    `root`. None if the cgroup is not in that subtree."""
    if root == "/":
        return os.path.normpath(point + path)
    if path == root or path.startswith(root + "/"):
        return os.path.normpath(point + path.removeprefix(root))
    return None


def _unescape(text: str) -> str:
    r"""Decode the octal escapes of proc(5): a blank is \040."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return raw.decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
