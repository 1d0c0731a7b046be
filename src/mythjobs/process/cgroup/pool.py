"""The cgroups of this process: found by trying, made in a pool, and swept up after the dead."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from typing import Final

from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts
from mythjobs.process.cgroup.group import Group
from mythjobs.process.cgroup.leaf import CONTROLLED, Leaf

_PREFIX: Final = "mythjobs-"
# To make and remove a group takes 40 µs; so many empty ones are kept for the next children.
_MOST_KEPT: Final = 64
_names: Final = itertools.count(1)


def best_here(places: mounts.Places | None = None) -> Cgroups | None:
    """Groups for this process, or None where it may make none. What dead processes of ours
    left behind is ended first."""
    places = mounts.here() if places is None else places
    if places.unified is None:
        return None
    sweep(places)
    for unified in _unified(places):
        try:
            return Cgroups(places._replace(unified=unified))
        except OSError:
            continue
    return None


def _unified(places: mounts.Places) -> list[str]:
    """Where our groups may be in the unified hierarchy, the best first."""
    if places.unified is None:
        return []
    better = None if places.controllers else mounts.with_limits(places.unified)
    return [places.unified] if better is None else [better, places.unified]


class Cgroups:
    """See base.Groups. Its directory in each hierarchy carries our pid and our birth, so that
    whoever comes after us knows whether we are still there."""

    def __init__(self, places: mounts.Places) -> None:
        """Raises OSError if a process of ours cannot be held here."""
        assert places.unified is not None
        name = _name(os.getpid())
        self._unified = Group(f"{places.unified}/{name}")
        self._controllers: dict[str, Group] = {}
        self._numbers = itertools.count(1)
        self._empty: list[Leaf] = []
        self._full: list[Leaf] = []
        self._lock = threading.Lock()
        self._unified.make()
        try:
            if not (self._unified.has("cgroup.freeze") and self._unified.has("cgroup.events")):
                raise OSError(errno.ENOTSUP, "a kernel before 5.2")
            self._unified_has = self._handed_on()
            for controller, path in places.controllers.items():
                self._try(controller, Group(f"{path}/{name}"))
            # Whether a process may be moved here shows only when one is.
            _move_there_and_back(self._unified, Group(places.unified))
        except OSError:
            self.close()
            raise

    def take(self) -> Leaf:
        with self._lock:
            self._reclaim()
            if self._empty:
                number = self._empty.pop().unified.path.rpartition("/")[2]
            else:
                number = str(next(self._numbers))
        group = Group(f"{self._unified.path}/{number}")
        if not os.path.isdir(group.path):
            group.make()
        controllers = {
            name: Group(f"{parent.path}/{number}") for name, parent in self._controllers.items()
        }
        return Leaf(group, self._unified_has, controllers, self._back)

    def enforces(self) -> frozenset[str]:
        return frozenset(
            limit
            for controller, limit in CONTROLLED.items()
            if controller in self._unified_has or controller in self._controllers
        )

    def close(self) -> None:
        with self._lock:
            for leaf in [*self._empty, *self._full]:
                _remove(leaf)
            self._empty.clear()
            self._full.clear()
        for group in [self._unified, *self._controllers.values()]:
            group.remove()

    def _back(self, leaf: Leaf) -> None:
        with self._lock:
            # Its limits go with the groups that had them: the next child may have none.
            reusable = leaf.empty() and not leaf.made and len(self._empty) < _MOST_KEPT
            if reusable and not (self._unified_has and _limited(leaf)):
                self._empty.append(leaf)
            elif not _remove(leaf):
                self._full.append(leaf)

    def _reclaim(self) -> None:
        self._full = [leaf for leaf in self._full if not _remove(leaf)]

    def _handed_on(self) -> frozenset[str]:
        """The controllers of the second version that groups of ours can have."""
        there = set(self._unified.read("cgroup.controllers").split()) & set(CONTROLLED)
        return frozenset(
            each for each in there if self._unified.write("cgroup.subtree_control", f"+{each}")
        )

    def _try(self, controller: str, group: Group) -> None:
        if controller in self._unified_has:
            return
        try:
            group.make()
        except OSError:
            return
        self._controllers[controller] = group


def sweep(places: mounts.Places) -> list[str]:
    """End what dead processes of ours left in their groups, and remove these. Answers their
    names; a group that has not emptied yet is left for the next time."""
    swept = []
    for path in [*_unified(places), *places.controllers.values()]:
        for group in Group(path).below():
            name = group.path.rpartition("/")[2]
            if not name.startswith(_PREFIX) or not _is_dead(name):
                continue
            if not group.write("cgroup.kill", "1"):
                group.kill_one_by_one()
            if group.remove():
                swept.append(name)
    return swept


def _name(pid: int) -> str:
    """A process may have several (a library's and its own), each with a name to itself."""
    process = procfs.read_process(pid)
    return f"{_PREFIX}{pid}-{process.born_ms if process else 0}-{_world()}.{next(_names)}"


def _world() -> str:
    """Where numbers of processes and times of birth mean what they mean to us: a sandbox with
    namespaces of its own may share our groups with us."""
    found = []
    for kind in ("pid", "time"):
        try:
            found.append(str(os.stat(f"/proc/self/ns/{kind}").st_ino))
        except OSError:
            found.append("0")
    return "-".join(found)


def _is_dead(name: str) -> bool:
    """Whether the owner of this group is. Of one in another world that cannot be known here."""
    pid, _, rest = name.removeprefix(_PREFIX).partition("-")
    born_ms, _, world = rest.partition(".")[0].partition("-")
    if world != _world():
        return False
    process = procfs.read_process(int(pid)) if pid.isdigit() else None
    return process is None or str(process.born_ms) != born_ms or process.dead


def _limited(leaf: Leaf) -> bool:
    return any(
        leaf.unified.read(name).strip() not in ("", "max") for name in ("memory.max", "pids.max")
    )


def _remove(leaf: Leaf) -> bool:
    gone = [group.remove() for group in leaf.made.values()]
    return leaf.unified.remove() and all(gone)


def _move_there_and_back(there: Group, back: Group) -> None:
    """With a child of ours that does nothing. Raises OSError if it may not be moved."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.posix_spawn(
        "/bin/sh", ["sh", "-c", 'echo 0 >"$1/cgroup.procs"', "sh", there.path], {},
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 2)],
    )  # fmt: skip
    os.close(theirs)
    try:
        said = os.read(ours, 200)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(ours)
    if os.waitstatus_to_exitcode(status):
        raise OSError(errno.EACCES, said.decode("utf-8", "replace").strip())
