"""The container of one child: a group in the unified hierarchy, and in each controller it needs."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Mapping
from typing import Final

from mythjobs.model.limits import Limits, Usage
from mythjobs.process.cgroup.group import Group

# Of the limits, those that a controller holds to; by the controller's name.
CONTROLLED: Final = {"memory": "memory", "pids": "processes"}


class Leaf:
    """See base.Containment. `controllers` are groups of the first version, made when a limit
    asks for one; `unified_has` are the controllers of the second that its parent hands on."""

    def __init__(
        self,
        unified: Group,
        unified_has: frozenset[str],
        controllers: Mapping[str, Group],
        release: Callable[[Leaf], None],
    ) -> None:
        self.unified = unified
        self._unified_has = unified_has
        self._controllers = controllers
        self._release = release
        self.made: dict[str, Group] = {}
        self._events: dict[int, int] = {}
        self._also: list[int] = []
        self._frozen = False
        self._cpu_before = unified.table("cpu.stat")
        self._met_before: dict[str, int] = {}
        self._limited: set[str] = set()

    # What base.Containment asks.

    def joins(self) -> list[str]:
        groups = [self.unified, *self.made.values()]
        return [group.file("cgroup.procs") for group in groups]

    def pids(self) -> list[int]:
        return self.unified.pids()

    def signal(self, number: int) -> int:
        return self.unified.signal(number)

    def kill(self) -> None:
        if not self.unified.write("cgroup.kill", "1"):
            self.freeze()
            self.unified.kill_one_by_one()
            self.thaw()

    def freeze(self) -> None:
        self._frozen = True
        self.unified.write("cgroup.freeze", "1")

    def thaw(self) -> None:
        self._frozen = False
        self.unified.write("cgroup.freeze", "0")

    def empty(self) -> bool:
        return self.unified.table("cgroup.events").get("populated", 0) == 0

    def events(self) -> dict[int, int]:
        if not self._events:
            self._watch(self.unified, "cgroup.events")
            for controller in sorted(self._limited):
                group = self._group_of(controller)
                if group is None:
                    continue
                if controller == "pids":
                    self._watch(group, "pids.events")
                elif group.has("memory.events"):
                    self._watch(group, "memory.events")
                else:
                    self._watch_memory(group)
            self.heard()
        return self._events

    def heard(self) -> None:
        for fd, mask in self._events.items():
            if mask == select.EPOLLPRI:
                # Reading it arms it again (kernfs; cgroup-v2.rst, "events").
                os.pread(fd, 4096, 0)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)

    def usage(self) -> Usage:
        now, before = self.unified.table("cpu.stat"), self._cpu_before
        user_us = now.get("user_usec", 0) - before.get("user_usec", 0)
        system_us = now.get("system_usec", 0) - before.get("system_usec", 0)
        memory = self._group_of("memory")
        peak = None if memory is None else _peak(memory)
        return Usage(
            user_s=max(user_us, 0) / 1e6, system_s=max(system_us, 0) / 1e6, peak_bytes=peak or 0
        )

    def set_limits(self, limits: Limits) -> dict[str, str]:
        refused = {}
        for controller, value in (("memory", limits.memory_bytes), ("pids", limits.processes)):
            if value is None and controller not in self._limited:
                continue
            if not self._set(controller, value):
                why = f"there is no writable cgroup with the {controller} controller"
                refused[CONTROLLED[controller]] = why
        return refused

    def breach(self) -> str | None:
        for controller in sorted(self._limited):
            group = self._group_of(controller)
            if group is not None and _met(group, controller) > self._met_before[controller]:
                return CONTROLLED[controller]
        return None

    def close(self) -> None:
        for fd in [*self._events, *self._also]:
            os.close(fd)
        self._events.clear()
        self._also.clear()
        if self._frozen:
            # Whoever joins it next would stand still before his first instruction.
            self.thaw()
        self._release(self)

    # Controllers.

    def _group_of(self, controller: str) -> Group | None:
        if controller in self._unified_has:
            return self.unified
        return self.made.get(controller)

    def _set(self, controller: str, value: int | None) -> bool:
        group = self._group_of(controller)
        if group is None:
            group = self._controllers.get(controller)
            if group is None:
                return False
            try:
                group.make()
            except FileExistsError:
                pass
            except OSError:
                return False
            self.made[controller] = group
            # Who is inside already joins late; the stub joins all of them before the program.
            for pid in self.pids():
                group.write("cgroup.procs", str(pid))
        self._met_before[controller] = _met(group, controller)
        self._limited.add(controller)
        if controller == "pids":
            return group.write("pids.max", "max" if value is None else str(value))
        return _limit_memory(group, value)

    def _watch(self, group: Group, name: str) -> None:
        try:
            fd = os.open(group.file(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._events[fd] = select.EPOLLPRI

    def _watch_memory(self, group: Group) -> None:
        """The first version tells through an eventfd (cgroup-v1/memory.rst, "OOM control")."""
        try:
            control = os.open(group.file("memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._also.append(control)
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._events[bell] = select.EPOLLIN
        group.write("cgroup.event_control", f"{bell} {control}")


def _limit_memory(group: Group, value: int | None) -> bool:
    if group.has("memory.max"):
        text = "max" if value is None else str(value)
        # The tree is one thing: half of it killed is no result.
        group.write("memory.oom.group", "1")
        group.write("memory.swap.max", "max" if value is None else "0")
        return group.write("memory.max", text)
    text = "-1" if value is None else str(value)
    group.write("memory.max_usage_in_bytes", "0")
    return group.write("memory.limit_in_bytes", text)


def _memory_events(group: Group) -> str:
    return "memory.events" if group.has("memory.events") else "memory.oom_control"


def _met(group: Group, controller: str) -> int:
    """How often the kernel came to this limit. Its counters only rise."""
    if controller == "pids":
        return group.table("pids.events").get("max", 0)
    return group.table(_memory_events(group)).get("oom_kill", 0)


def _peak(group: Group) -> int | None:
    found = group.number("memory.peak")
    return group.number("memory.max_usage_in_bytes") if found is None else found
