"""Limits of whole trees: looking at those that need it, hearing of those the kernel holds to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Breached, Outcome
from mythjobs.process.cgroup import Containment, Groups, best_here
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.supervise import usage
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.limit_check import Watchman
from mythjobs.process.supervise.loop import Loop

_ASKED_MS: Final = 100
_LATE: Final = "it was started without a cgroup"


class Guard:
    """For the children of one keeper, in its loop's thread. Without such limits it does
    nothing, and no timer runs."""

    def __init__(self, loop: Loop, stop: Callable[[Child, Outcome], None]) -> None:
        self._loop = loop
        self._stop = stop

    def begin(self, child: Child) -> None:
        """There is a process."""
        limits = child.limits
        if child.tree and (limits.memory_bytes is not None or limits.processes is not None):
            self._hear(child)
        if _needs_looking(child):
            self._watch(child)

    def change(self, child: Child) -> None:
        """Its limits are others now."""
        self._call_off(child)
        self._unhear(child)
        if child.tree:
            child.unenforced = child.tree.set_limits(child.limits)
        else:
            missing = without_container(child.limits, _LATE)
            child.unenforced = {
                name: child.unenforced.get(name, why) for name, why in missing.items()
            }
        if not _needs_looking(child):
            child.watchman = None
        self.begin(child)

    def froze(self, child: Child) -> None:
        self._call_off(child)

    def thawed(self, child: Child, duration_ms: int) -> None:
        if child.heard_fds:
            self._ask(child)
        if child.watchman:
            child.watchman.frozen_for(duration_ms)
            self._look_at(child, self._loop.now.run_ms)

    def end(self, child: Child) -> None:
        """Its leader is dead: no look can tell more than its outcome."""
        self._call_off(child)
        self._unhear(child)

    def _call_off(self, child: Child) -> None:
        child.look_timer.clear()
        child.ask_timer.clear()

    # What the kernel holds to.

    def _hear(self, child: Child) -> None:
        assert child.tree
        for fd, events in child.tree.events().items():
            child.heard_fds.append(fd)
            self._loop.watch(fd, partial(self._told, child), events)
        self._ask(child)

    def _ask(self, child: Child) -> None:
        """It may have met a limit before we listened, and of the number of processes not every
        kernel tells (seen with cgroup v1 on 6.18: pids.events never becomes readable)."""
        if child.ending or child.exited:
            return
        self._told(child)
        if child.limits.processes is not None:
            due_ms = self._loop.now.run_ms + _ASKED_MS
            child.ask_timer = self._loop.at(due_ms, partial(self._ask, child))

    def _unhear(self, child: Child) -> None:
        for fd in child.heard_fds:
            self._loop.unwatch(fd)
        child.heard_fds.clear()

    def _told(self, child: Child) -> None:
        assert child.tree
        child.tree.heard()
        if limit := child.tree.breach():
            self._stop(child, Breached(limit))

    # What we look at.

    def _watch(self, child: Child) -> None:
        before, now_ms = child.watchman, self._loop.now.run_ms
        child.watchman = Watchman(child.limits, _sampled(child), now_ms)
        if before is not None:
            child.watchman.follow(before)
        if child.frozen_since_ms is None:
            self._look(child)

    def _look_at(self, child: Child, run_ms: int) -> None:
        child.look_timer.clear()
        child.look_timer = self._loop.at(run_ms, partial(self._look, child))

    def _look(self, child: Child) -> None:
        watchman = child.watchman
        if watchman is None or child.ending or child.exited:
            return
        now_ms = self._loop.now.run_ms
        seen = usage.look(child)
        if limit := watchman.look(seen, now_ms):
            self._stop(child, Breached(limit))
        else:
            self._look_at(child, watchman.next_ms(seen, now_ms))


def _needs_looking(child: Child) -> bool:
    limits = child.limits
    return limits.cpu_s is not None or limits.idle_s is not None or bool(_sampled(child))


def _sampled(child: Child) -> frozenset[str]:
    limits = child.limits
    asked = {"memory": limits.memory_bytes, "processes": limits.processes}
    return frozenset(name for name in child.unenforced if asked.get(name) is not None)


class Containers:
    """Looked for when the first child asks, in a spawner's thread: that takes its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = False
        self._groups: Groups | None = None

    def hold(self, child: Child) -> None:
        """Give it a container if it is to have one and there is one. Raises CannotStart with
        what cannot be enforced, unless the child takes the best effort."""
        limits = child.limits
        if not child.contain and not needs_tree(limits):
            return
        # Whoever comes after us ends what is in the containers of the dead.
        child.tree = None if child.outlives else self._take()
        if child.tree is None:
            why = "it may outlive us" if child.outlives else "there is no cgroup to write to"
            child.unenforced = without_container(limits, why)
        else:
            child.unenforced = child.tree.set_limits(limits)
        if child.unenforced and not child.best_effort:
            raise CannotStart(0, "; ".join(child.shortcomings))

    def _take(self) -> Containment | None:
        with self._lock:
            if not self._looked:
                self._groups = best_here()
                self._looked = True
        try:
            return self._groups.take() if self._groups else None
        except OSError:
            return None

    def close(self) -> None:
        if self._groups:
            self._groups.close()


def needs_tree(limits: Limits) -> bool:
    """Whether a limit is about all processes of it together."""
    return not (
        limits.cpu_s is None
        and limits.idle_s is None
        and limits.memory_bytes is None
        and limits.processes is None
    )


def without_container(limits: Limits, why: str) -> dict[str, str]:
    """Those of these limits that only a container enforces, each with this reason."""
    asked = {"memory": limits.memory_bytes, "processes": limits.processes}
    return {name: why for name, value in asked.items() if value is not None}
