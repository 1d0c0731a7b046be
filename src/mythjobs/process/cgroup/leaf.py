"""Cgroup of one child: a directory in the unified hierarchy, and one per v1 controller in use."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Mapping
from typing import Final

from mythjobs.model.limits import Limits, Usage
from mythjobs.process.cgroup.group import CgroupDirectory
from mythjobs.process.cgroup.leaf_files import LeafFiles
from mythjobs.process.quick_calls import move_above_streams

# For each cgroup controller, the limit that it can enforce.
LIMIT_BY_CONTROLLER: Final = {"memory": "memory", "pids": "processes"}


class ChildCgroup:
    """A cgroup that contains the process tree of one child; the processes cannot leave it.

    The child's stub joins the cgroup before it executes the program. Methods ignore processes and
    files that no longer exist, and raise no exceptions.
    """

    def __init__(
        self,
        unified: CgroupDirectory,
        unified_controllers: frozenset[str],
        controllers: Mapping[str, CgroupDirectory],
        release: Callable[[ChildCgroup], None],
        files: LeafFiles | None = None,
    ) -> None:
        """`unified` is the directory in the v2 hierarchy, `unified_controllers` are the controllers
        that its parent enables for it. `controllers` are directories for v1 controllers, each
        created only when a limit needs it. `files`: open files of `unified`, if these are kept."""
        self.unified = unified
        self._unified_controllers = unified_controllers
        self._controllers = controllers
        self._release = release
        self.created: dict[str, CgroupDirectory] = {}
        self._event_masks: dict[int, int] = {}
        self._extra_fds: list[int] = []
        self.is_frozen = self._is_empty = self.was_killed = False
        self.files = files
        self._cpu_at_start = files.last_cpu if files else unified.read_keyed_numbers("cpu.stat")
        self._hits_before: dict[str, int] = {}
        self._limited_controllers: set[str] = set()

    def list_join_files(self) -> list[str]:
        """Return the cgroup.procs files. A process joins the cgroup by writing "0" to each."""
        directories = [self.unified, *self.created.values()]
        return [each.file_path("cgroup.procs") for each in directories]

    @property
    def directory_fd(self) -> int:
        """Descriptor of the v2 directory, for clone3(2), or -1 if none is kept."""
        return self.files.directory_fd if self.files else -1

    @property
    def events_fd(self) -> int:
        """Descriptor of cgroup.events, or -1 if none is kept."""
        return self.files.events_fd if self.files else -1

    def list_pids(self) -> list[int]:
        """Return the pids of all processes, without zombies."""
        return self.unified.list_pids()

    def kill(self) -> None:
        """Send SIGKILL to all processes at once, frozen or not, so that no fork escapes."""
        self.was_killed = True
        if not self.unified.write("cgroup.kill", "1"):
            self.freeze()
            self.unified.kill_one_by_one()
            self.thaw()

    def freeze(self) -> None:
        self.is_frozen = True
        self.unified.write("cgroup.freeze", "1")

    def thaw(self) -> None:
        self.unified.write("cgroup.freeze", "0")
        self.is_frozen = False

    def is_empty(self) -> bool:
        """Return whether the cgroup has no processes. Call it only once the child has joined."""
        if self.files:
            # A cgroup that has become empty stays empty.
            self._is_empty = self._is_empty or self.files.is_empty()
            return self._is_empty
        return self.unified.read_keyed_numbers("cgroup.events").get("populated", 0) == 0

    def open_events(self) -> dict[int, int]:
        """Return descriptors that report events, with their epoll masks. An event means that the
        cgroup has become empty or that a limit was hit.

        The descriptors belong to this object. On an event, call `clear_events`, then `is_empty`
        and `find_breach`.
        """
        if not self._event_masks:
            self._open_event_file(self.unified, "cgroup.events")
            for controller in sorted(self._limited_controllers):
                directory = self._find_directory(controller)
                if directory is None:
                    continue
                if controller == "pids":
                    self._open_event_file(directory, "pids.events")
                elif directory.has_file("memory.events"):
                    self._open_event_file(directory, "memory.events")
                else:
                    self._open_memory_events_v1(directory)
            self.clear_events()
        return self._event_masks

    def clear_events(self) -> None:
        for fd, mask in self._event_masks.items():
            if mask == select.EPOLLPRI:
                # Reading the file re-arms the notification (kernfs; cgroup-v2.rst, "events").
                os.pread(fd, 4096, 0)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)

    def read_usage(self) -> Usage:
        """Return the exact CPU time of all processes that have run in the cgroup for this child,
        and their memory peak (0 if unknown)."""
        before = self._cpu_at_start
        now = self.files.read_cpu() if self.files else self.unified.read_keyed_numbers("cpu.stat")
        user_us = now.get("user_usec", 0) - before.get("user_usec", 0)
        system_us = now.get("system_usec", 0) - before.get("system_usec", 0)
        memory = self._find_directory("memory")
        peak_bytes = None if memory is None else _read_peak_bytes(memory)
        return Usage(
            user_s=max(user_us, 0) / 1e6,
            system_s=max(system_us, 0) / 1e6,
            peak_bytes=peak_bytes or 0,
        )

    def set_limits(self, limits: Limits) -> dict[str, str]:
        """Set the limits "memory" and "processes". Return the limits that cannot be set, each with
        the reason."""
        unenforced = {}
        for controller, value in (("memory", limits.memory_bytes), ("pids", limits.processes)):
            if value is None and controller not in self._limited_controllers:
                continue
            if not self._set_limit(controller, value):
                why = f"there is no writable cgroup with the {controller} controller"
                unenforced[LIMIT_BY_CONTROLLER[controller]] = why
        return unenforced

    def find_breach(self) -> str | None:
        """Return the limit ("memory" or "processes") that was hit since the last `set_limits`, or
        None."""
        for controller in sorted(self._limited_controllers):
            directory = self._find_directory(controller)
            if directory is None:
                continue
            if _count_limit_hits(directory, controller) > self._hits_before[controller]:
                return LIMIT_BY_CONTROLLER[controller]
        return None

    def close(self) -> None:
        """Return the cgroup to the pool for reuse, or remove it. If it still has processes, the
        pool removes it later."""
        for fd in [*self._event_masks, *self._extra_fds]:
            os.close(fd)
        self._event_masks.clear()
        self._extra_fds.clear()
        if self.is_frozen:
            # Thaw the cgroup before its reuse: a process that joins a frozen cgroup is frozen. If
            # no descriptor is free, the pool removes it.
            with contextlib.suppress(OSError):
                self.thaw()
        self._release(self)

    # Methods for the controllers that enforce limits.

    def _find_directory(self, controller: str) -> CgroupDirectory | None:
        if controller in self._unified_controllers:
            return self.unified
        return self.created.get(controller)

    def _set_limit(self, controller: str, value: int | None) -> bool:
        directory = self._find_directory(controller)
        if directory is None:
            directory = self._controllers.get(controller)
            if directory is None:
                return False
            try:
                directory.create()
            except FileExistsError:
                pass
            except OSError:
                return False
            self.created[controller] = directory
            # Move the processes that are in the v2 directory into the new v1 directory, too. A new
            # child joins all directories before exec.
            for pid in self.list_pids():
                directory.write("cgroup.procs", str(pid))
        self._hits_before[controller] = _count_limit_hits(directory, controller)
        self._limited_controllers.add(controller)
        if controller == "pids":
            return directory.write("pids.max", "max" if value is None else str(value))
        return _write_memory_limit(directory, value)

    def _open_event_file(self, directory: CgroupDirectory, name: str) -> None:
        try:
            path = directory.file_path(name)
            fd = move_above_streams(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return
        self._event_masks[fd] = select.EPOLLPRI

    def _open_memory_events_v1(self, directory: CgroupDirectory) -> None:
        """Watch for out-of-memory kills in a v1 cgroup, which notifies through an eventfd
        (cgroup-v1/memory.rst, "OOM control")."""
        try:
            path = directory.file_path("memory.oom_control")
            control = move_above_streams(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return
        self._extra_fds.append(control)
        try:
            event_fd = move_above_streams(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        except OSError:
            return
        self._event_masks[event_fd] = select.EPOLLIN
        directory.write("cgroup.event_control", f"{event_fd} {control}")


def _write_memory_limit(directory: CgroupDirectory, value: int | None) -> bool:
    if directory.has_file("memory.max"):
        text = "max" if value is None else str(value)
        # Let the kernel kill the whole tree when memory runs out: a job some of whose processes
        # were killed can end with a wrong result.
        directory.write("memory.oom.group", "1")
        directory.write("memory.swap.max", "max" if value is None else "0")
        return directory.write("memory.max", text)
    text = "-1" if value is None else str(value)
    directory.write("memory.max_usage_in_bytes", "0")
    return directory.write("memory.limit_in_bytes", text)


def _memory_events_file(directory: CgroupDirectory) -> str:
    return "memory.events" if directory.has_file("memory.events") else "memory.oom_control"


def _count_limit_hits(directory: CgroupDirectory, controller: str) -> int:
    """Return how often the controller's limit was hit; the kernel's counter never decreases."""
    if controller == "pids":
        return directory.read_keyed_numbers("pids.events").get("max", 0)
    return directory.read_keyed_numbers(_memory_events_file(directory)).get("oom_kill", 0)


def _read_peak_bytes(directory: CgroupDirectory) -> int | None:
    found = directory.read_number("memory.peak")
    return directory.read_number("memory.max_usage_in_bytes") if found is None else found
