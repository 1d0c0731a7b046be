"""Termination of a child: SIGTERM to its process tree, the grace period, then SIGKILL."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from mythjobs.process.event_loop import EventLoop, log_exception
from mythjobs.process.procfs import ProcessInfo, ProcessSnapshot
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.cleanup import Cleanup
from mythjobs.process.supervise.descendants import find_tree
from mythjobs.process.supervise.signals import kill_tree, signal_tree

# Time after which a SIGKILL that failed for lack of descriptors or memory is repeated.
_RETRY_MS: Final = 50

C = TypeVar("C", bound=Child)


class Termination(Generic[C]):
    """Ends process trees. All methods must be called in the event loop's thread.

    on_thawed: called with a child that was thawed for its stop, and the ms that it was frozen. Its
    limits are monitored again, because a breach during the grace period may shorten that period.
    """

    def __init__(
        self, loop: EventLoop, cleanup: Cleanup[C], on_thawed: Callable[[C, int], None]
    ) -> None:
        self._loop = loop
        self._cleanup = cleanup
        self._on_thawed = on_thawed
        self._snapshot = ProcessSnapshot()

    def begin(self, child: C) -> None:
        """Send SIGTERM to the tree and start the grace period, after which SIGKILL follows."""
        # Set the KILL timer first, so that the child ends even if sending TERM fails.
        child.term_ms = self._loop.now.run_ms
        child.kill_at_ms = child.term_ms + round(child.grace_s * 1000)
        child.timers.append(self._loop.call_at(child.kill_at_ms, partial(self._kill, child)))
        if child.grace_s > 0:
            members = self._find_members(child)
            self._sample_usage(child, members)
            signal_tree(child, members, signal.SIGTERM)
            # A process stopped by SIGSTOP handles TERM only once it is continued.
            signal_tree(child, members, signal.SIGCONT)
        if child.frozen_since_ms is not None:
            frozen_ms = child.term_ms - child.frozen_since_ms
            child.frozen_ms += frozen_ms
            child.frozen_since_ms = None
            if child.cgroup:
                # Ignore a failed thaw: the later SIGKILL ends frozen processes, too.
                with suppress(OSError):
                    child.cgroup.thaw()
            self._on_thawed(child, frozen_ms)

    def shorten_grace(self, child: C, grace_s: float | None) -> None:
        """Send SIGKILL after `grace_s` (None: the limits' `grace_s`), unless it is due earlier."""
        if grace_s is None:
            grace_s = child.limits.grace_s
        if not child.has_spawned:
            child.grace_s = min(child.grace_s, grace_s)
            return
        due_ms = self._loop.now.run_ms + round(grace_s * 1000)
        if due_ms < child.kill_at_ms:
            child.kill_at_ms = due_ms
            child.timers.append(self._loop.call_at(due_ms, partial(self._kill, child)))

    def _kill(self, child: C) -> None:
        if child.has_grace_ended:
            return
        child.has_grace_ended = True
        if child.has_exited:
            self._cleanup.clean_up(child)
        else:
            self._kill_members(child)

    def _kill_members(self, child: C) -> None:
        members = self._find_members(child)
        self._sample_usage(child, members)
        try:
            kill_tree(child, members)
        except OSError:
            # The cgroup cannot be killed for lack of descriptors or memory: kill the known members,
            # and try again soon.
            signal_tree(child, members, signal.SIGKILL)
            due_ms = self._loop.now.run_ms + _RETRY_MS
            child.timers.append(self._loop.call_at(due_ms, partial(self._kill_members, child)))

    def _find_members(self, child: C) -> list[ProcessInfo]:
        """Return the tree's processes, or those seen earlier if no descriptor is free for /proc."""
        try:
            self._cleanup.reap_orphans()
            processes = self._snapshot.read(self._loop.now)
            return find_tree(child, self._cleanup.descendants, processes)
        except OSError:
            log_exception()
            return list(child.seen_members.values())

    def _sample_usage(self, child: C, members: list[ProcessInfo]) -> None:
        """Record the tree's usage before a signal: if a process dies together with its parent, the
        parent does not wait for it, and wait4(2) of the leader does not report its usage."""
        child.peak_bytes = max(child.peak_bytes, supervise_usage.read_tree_peak_bytes(child.pid))
        if len(members) > 1:
            with suppress(OSError):
                child.usage_at_stop = supervise_usage.read_usage(child) or child.usage_at_stop
