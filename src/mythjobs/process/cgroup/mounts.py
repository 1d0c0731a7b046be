"""Where cgroups are on this machine, and where in them we are (cgroups(7), proc(5))."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

# The controllers of the first version that hold limits of ours.
_WANTED: Final = ("pids", "memory")


class Places(NamedTuple):
    """Directories of the groups that we are in; None or missing where there is none for us."""

    unified: str | None
    controllers: dict[str, str]


def places(mountinfo: str, cgroup: str) -> Places:
    """From the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    ours = _ours(cgroup)
    unified: str | None = None
    controllers: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, point = _plain(fields[3]), _plain(fields[4])
        if kind[0] == "cgroup2" and "" in ours and unified is None:
            unified = _below(point, root, ours[""])
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                if name in _WANTED and name in ours and name not in controllers:
                    found = _below(point, root, ours[name])
                    if found is not None:
                        controllers[name] = found
    return Places(unified, controllers)


def here() -> Places:
    """Those of this process. None at all if /proc says nothing."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return places(mountinfo, file.read())
    except OSError:
        return Places(None, {})


def with_limits(own: str) -> str | None:
    """The nearest group above `own` that hands on what limits need, if we may make groups in it.

    Where processes are, no controllers are handed on (cgroup-v2.rst, "no internal processes"),
    and in our own group we are. Not looked for above the group that the manager of the machine
    has delegated (systemd marks it): what lies there is not ours, were we root.
    """
    found = None
    path = own
    while not _is_delegated(path):
        path = os.path.dirname(path)
        if not os.path.exists(f"{path}/cgroup.procs"):
            return None
        if found is None and _hands_on(path) and os.access(path, os.W_OK):
            found = path
    return found


def _is_delegated(path: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _hands_on(path: str) -> bool:
    try:
        with open(f"{path}/cgroup.subtree_control", encoding="ascii") as file:
            return set(_WANTED) <= set(file.read().split())
    except OSError:
        return False


def _ours(cgroup: str) -> dict[str, str]:
    """By controller; the unified hierarchy has an empty name."""
    found: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _below(point: str, root: str, path: str) -> str | None:
    """Our group's directory, if the mount shows it: it may show a part of the tree only."""
    if root == "/":
        return os.path.normpath(point + path)
    if path == root or path.startswith(root + "/"):
        return os.path.normpath(point + path.removeprefix(root))
    # The mount is of a namespace of cgroups that ours is not below.
    return None


def _plain(text: str) -> str:
    r"""As proc(5) has it: blanks and the like are \040 and so on."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return raw.decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
