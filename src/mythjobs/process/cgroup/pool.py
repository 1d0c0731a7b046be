"""Pool of cgroups for the children of this process, and removal of cgroups that dead processes
left behind."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts
from mythjobs.process.cgroup.group import CgroupDirectory
from mythjobs.process.cgroup.leaf import LIMIT_BY_CONTROLLER, ChildCgroup
from mythjobs.process.cgroup.leaf_files import LeafFiles
from mythjobs.process.reserve import is_shortage
from mythjobs.process.spawn.stub import check_can_join

POOL_PREFIX: Final = "mythjobs-"
# Number of empty cgroups kept for reuse, because creating and removing a cgroup takes 40 µs.
_MAX_FREE: Final = 64
# Number of empty cgroups whose files stay open.
_MAX_WITH_FILES: Final = 16
_name_numbers: Final = itertools.count(1)


def open_cgroup_pool(cgroup_mounts: mounts.CgroupMounts | None = None) -> CgroupPool | None:
    """Return a cgroup pool for this process, or None if the process may not create cgroups.

    First remove the cgroups that dead processes left behind. Raises OSError if the machine lacks
    descriptors, memory or processes: a later call may succeed.
    """
    cgroup_mounts = mounts.read_cgroup_mounts() if cgroup_mounts is None else cgroup_mounts
    if cgroup_mounts.unified is None:
        return None
    remove_stale_cgroups(cgroup_mounts)
    for unified in _list_unified_candidates(cgroup_mounts):
        try:
            return CgroupPool(cgroup_mounts._replace(unified=unified))
        except OSError as error:
            if is_shortage(error):
                raise
    return None


def _list_unified_candidates(cgroup_mounts: mounts.CgroupMounts) -> list[str]:
    """Return directories of the v2 hierarchy in which cgroups may be created, the best first: an
    ancestor of this process's cgroup that enables controllers, then this cgroup itself."""
    unified = cgroup_mounts.unified
    if unified is None:
        return []
    if not cgroup_mounts.controllers:
        ancestor = mounts.find_ancestor_with_controllers(unified)
        if ancestor is not None:
            return [ancestor, unified]
    return [unified]


class CgroupPool:
    """The cgroups for the children of one process: a reaper, or a program that uses the library.

    The pool's directory in each hierarchy has this process's pid and start time in its name, so
    that later processes can tell whether the owner still runs.

    keeps_files: keep files of cgroups open. Only one thread may then use a child's cgroup.
    """

    keeps_files = False

    def __init__(self, cgroup_mounts: mounts.CgroupMounts) -> None:
        """Create the pool's directories. Raises OSError if processes cannot be moved into them."""
        assert cgroup_mounts.unified is not None
        name = _make_name(os.getpid())
        self._unified = CgroupDirectory(f"{cgroup_mounts.unified}/{name}")
        self._controllers: dict[str, CgroupDirectory] = {}
        self._numbers = itertools.count(1)
        self._free: list[ChildCgroup] = []
        self._unremovable: list[ChildCgroup] = []
        self._lock = threading.Lock()
        self._unified.create()
        try:
            if not (
                self._unified.has_file("cgroup.freeze") and self._unified.has_file("cgroup.events")
            ):
                raise OSError(errno.ENOTSUP, "the kernel is older than 5.2")
            self._unified_controllers = self._enable_unified_controllers()
            for controller, path in cgroup_mounts.controllers.items():
                self._try_controller(controller, CgroupDirectory(f"{path}/{name}"))
            check_can_join(self._unified.file_path("cgroup.procs"))
        except OSError:
            self.close()
            raise

    def take(self) -> ChildCgroup:
        """Return an empty cgroup for a child. Raises OSError."""
        with self._lock:
            self._remove_emptied()
            used = self._free.pop() if self._free else None
            number = used.unified.path.rpartition("/")[2] if used else str(next(self._numbers))
        unified = CgroupDirectory(f"{self._unified.path}/{number}")
        files = used.files if used else None
        if files is None:
            if not os.path.isdir(unified.path):
                unified.create()
            files = self._open_files(unified.path)
        controllers = {
            name: CgroupDirectory(f"{parent.path}/{number}")
            for name, parent in self._controllers.items()
        }
        return ChildCgroup(unified, self._unified_controllers, controllers, self._release, files)

    def _open_files(self, path: str) -> LeafFiles | None:
        """Return None if they are not kept, or if no descriptor is free."""
        if self.keeps_files:
            with suppress(OSError):
                return LeafFiles(path)
        return None

    def enforced_limits(self) -> frozenset[str]:
        """Return which of the limits "memory" and "processes" the pool's cgroups can enforce."""
        return frozenset(
            limit
            for controller, limit in LIMIT_BY_CONTROLLER.items()
            if controller in self._unified_controllers or controller in self._controllers
        )

    def close(self) -> None:
        with self._lock:
            for leaf in [*self._free, *self._unremovable]:
                _remove(leaf)
            self._free.clear()
            self._unremovable.clear()
        for directory in [self._unified, *self._controllers.values()]:
            directory.remove()

    def _release(self, leaf: ChildCgroup) -> None:
        with self._lock:
            try:
                may_reuse = leaf.is_empty() and self._may_reuse(leaf)
            except OSError:
                may_reuse = False
            if may_reuse and len(self._free) < _MAX_FREE:
                if len(self._free) >= _MAX_WITH_FILES:
                    _close_files(leaf)
                self._free.append(leaf)
            elif not _remove(leaf):
                self._unremovable.append(leaf)

    def _may_reuse(self, leaf: ChildCgroup) -> bool:
        """Return whether the cgroup has no trace of its last child and may be given to another.

        A memory controller keeps the child's peak, and the charge for file pages that it read. In
        a cgroup that was killed, the kernel kills children that are created there (child.c).
        """
        if leaf.created or leaf.was_killed or leaf.is_frozen:
            return False
        if "memory" in self._unified_controllers:
            return False
        return not (self._unified_controllers and _has_limits(leaf))

    def _remove_emptied(self) -> None:
        self._unremovable = [leaf for leaf in self._unremovable if not _remove(leaf)]

    def _enable_unified_controllers(self) -> frozenset[str]:
        """Enable the v2 controllers for the cgroups of children. Return those that were enabled."""
        found = set(self._unified.read("cgroup.controllers").split()) & set(LIMIT_BY_CONTROLLER)
        return frozenset(
            each for each in found if self._unified.write("cgroup.subtree_control", f"+{each}")
        )

    def _try_controller(self, controller: str, directory: CgroupDirectory) -> None:
        if controller in self._unified_controllers:
            return
        try:
            directory.create()
        except OSError:
            return
        self._controllers[controller] = directory


def list_parents(cgroup_mounts: mounts.CgroupMounts) -> list[str]:
    """Return the directories in which a process with these mounts creates its pool."""
    return [*_list_unified_candidates(cgroup_mounts), *cgroup_mounts.controllers.values()]


def remove_stale_cgroups(
    cgroup_mounts: mounts.CgroupMounts, more: Iterable[str] = (), killed_pid: int = 0
) -> list[str]:
    """Kill the processes in cgroups of pools whose owner is dead, and remove these cgroups. Return
    the names of the removed ones; a cgroup that is not empty yet is left for the next call.

    Pools are searched in the directories of `cgroup_mounts` and in `more`. The owner `killed_pid`
    counts as dead, even if its process still exists.
    """
    removed = []
    for path in {*list_parents(cgroup_mounts), *more}:
        for directory in CgroupDirectory(path).children():
            name = directory.path.rpartition("/")[2]
            if not name.startswith(POOL_PREFIX) or not _is_owner_dead(name, killed_pid):
                continue
            if not directory.write("cgroup.kill", "1"):
                directory.kill_one_by_one()
            if directory.remove():
                removed.append(name)
    return removed


def _make_name(pid: int) -> str:
    """Return the name of a new pool's directory. A number at its end distinguishes the pools of one
    process."""
    process = procfs.read_process(pid)
    start_ms = process.start_time_ms if process else 0
    return f"{POOL_PREFIX}{pid}-{start_ms}-{_namespace_id()}.{next(_name_numbers)}"


def _namespace_id() -> str:
    """Return an identifier of this process's pid and time namespaces. A pid and a start time are
    valid only in these.

    A sandbox with its own namespaces may create cgroups in the same directory as this process.
    """
    inodes = []
    for kind in ("pid", "time"):
        try:
            inodes.append(str(os.stat(f"/proc/self/ns/{kind}").st_ino))
        except OSError:
            inodes.append("0")
    return "-".join(inodes)


def _is_owner_dead(name: str, killed_pid: int) -> bool:
    """Return whether the process that owns the pool directory `name` is dead. False for an owner in
    other namespaces, where this cannot be determined."""
    pid, _, rest = name.removeprefix(POOL_PREFIX).partition("-")
    start_ms, _, namespace_id = rest.partition(".")[0].partition("-")
    if namespace_id != _namespace_id():
        return False
    if not pid.isdigit():
        return True
    process = procfs.read_process(int(pid))
    if process is None:
        return not procfs.is_pid_in_use(int(pid))
    if str(process.start_time_ms) != start_ms:
        return True
    return process.is_dead or process.pid == killed_pid


def _has_limits(leaf: ChildCgroup) -> bool:
    return any(
        leaf.unified.read(name).strip() not in ("", "max") for name in ("memory.max", "pids.max")
    )


def _close_files(leaf: ChildCgroup) -> None:
    if leaf.files:
        leaf.files.close()
        leaf.files = None


def _remove(leaf: ChildCgroup) -> bool:
    """Remove the cgroup. Return False if it has processes, or if this cannot be read now."""
    _close_files(leaf)
    try:
        removed = [directory.remove() for directory in leaf.created.values()]
        return leaf.unified.remove() and all(removed)
    except OSError:
        return False
