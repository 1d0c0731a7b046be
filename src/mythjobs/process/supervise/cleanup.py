"""Cleanup: ends the descendants that outlive a child's leader, and has the leader reaped after
them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from mythjobs.process import procfs
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.quick_calls import move_above_streams
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import Descendants
from mythjobs.process.supervise.signals import kill_tree, thaw_tree

# Time to wait for the exit of killed processes, which normally takes microseconds.
_KILL_TIMEOUT_MS: Final = 2000
# A search is repeated this often because of dead orphans that may be of any child: one that starts
# such orphans without end must not delay the ends of others for as long as it runs.
_MAX_REPEATS: Final = 20
# Time after which a cleanup that failed for lack of descriptors or memory is repeated.
_RETRY_MS: Final = 50
# Interval at which dead orphans are reaped. A child that starts 1,000 short-lived daemons a second
# has 2,000 zombies then; the kernel allows 32,768 processes or more.
_REAPING_INTERVAL_MS: Final = 2000

C = TypeVar("C", bound=Child)


class Cleanup(Generic[C]):
    """Cleanup for all children of a supervisor. Runs in the event loop's thread, and calls
    `reap_leader` for a child once none of its descendants is left."""

    descendants: Descendants

    def __init__(self, loop: EventLoop, reap_leader: Callable[[C], None]) -> None:
        self._loop = loop
        self._reap_leader = reap_leader
        # By the leader's pid: children whose leader has exited while descendants still exist.
        self._waiting: dict[int, C] = {}
        # By the leader's pid: how often a search was repeated because an orphan died meanwhile.
        self._repeats: dict[int, int] = {}
        self._watched_pids: set[int] = set()
        self._is_reaping_scheduled = False

    def clean_up(self, child: C) -> None:
        """Wait for the descendants that survived the leader, or kill them; then reap the leader.

        The leader is reaped last, because its zombie keeps the kernel from reusing its pid as an
        id of a process, process group or session.
        """
        try:
            is_clean = self._try_to_clean_up(child)
        except OSError:
            # Descriptors or memory are lacking, so it is unknown which processes are left.
            self._waiting[child.pid] = child
            self._loop.call_at(self._loop.now.run_ms + _RETRY_MS, partial(self._retry, child))
            return
        if is_clean:
            self._complete(child)

    def _try_to_clean_up(self, child: C) -> bool:
        """End the descendants of a child; return True if none is left. Raises OSError."""
        self.reap_orphans()
        survivors = self.descendants.find_survivors(child)
        if survivors and not child.leave_daemons:
            has_grace = child.stop_reason is not None and not child.has_grace_ended
            if not has_grace:
                kill_tree(child, survivors)
            self.reap_orphans()
            self._wait_for(child, survivors, has_grace)
            return False
        if self._has_lost_orphan(child):
            self._waiting[child.pid] = child
            self._loop.call_at(self._loop.now.run_ms + 1, partial(self._retry, child))
            return False
        if child.leave_daemons:
            self._leave(child, survivors)
        return True

    def _has_lost_orphan(self, child: C) -> bool:
        """Reap the orphans that died during a search. Return whether one may have been the child's:
        the search may have missed its own children."""
        owners = self.reap_orphans()
        if child.cgroup is not None:
            return False
        repeats = self._repeats.get(child.pid, 0)
        if child not in owners and (None not in owners or repeats >= _MAX_REPEATS):
            return False
        self._repeats[child.pid] = repeats + 1
        return True

    def _retry(self, child: C) -> None:
        if child.pid in self._waiting:
            self.clean_up(child)

    def orphan_exited(self) -> None:
        """Reap dead orphans, and repeat the cleanup of all children that have descendants left."""
        try:
            self.reap_orphans()
        except OSError:
            self._loop.call_at(self._loop.now.run_ms + _RETRY_MS, self.orphan_exited)
            return
        for child in list(self._waiting.values()):
            self.clean_up(child)

    def schedule_reaping(self) -> None:
        """Reap dead orphans every _REAPING_INTERVAL_MS, as long as there are children or orphans,
        if they become children of this process. Every cleanup reaps them, too."""
        if self._is_reaping_scheduled or not self.descendants.counts_orphans:
            return
        self._is_reaping_scheduled = True
        self._loop.call_at(self._loop.now.run_ms + _REAPING_INTERVAL_MS, self._reap_regularly)

    def _reap_regularly(self) -> None:
        self._is_reaping_scheduled = False
        self.orphan_exited()
        if self.descendants.may_have_orphans():
            self.schedule_reaping()

    def _complete(self, child: C) -> None:
        self._waiting.pop(child.pid, None)
        if self._repeats:
            self._repeats.pop(child.pid, None)
        self._reap_leader(child)

    def _wait_for(self, child: C, survivors: list[ProcessInfo], has_grace: bool) -> None:
        """Watch the survivors, and repeat the cleanup whenever one exits: it may have left children
        that were not found before."""
        self._waiting[child.pid] = child
        for process in survivors:
            if process.pid not in self._watched_pids and not self._watch(process.pid):
                self._loop.call_soon(self.orphan_exited)
        if not has_grace and not child.is_kill_timed:
            child.is_kill_timed = True
            due_ms = self._loop.now.run_ms + _KILL_TIMEOUT_MS
            child.timers.append(self._loop.call_at(due_ms, partial(self._time_out, child)))

    def _watch(self, pid: int) -> bool:
        """Watch for the exit of the process `pid`; return False if it is gone already.

        If no descriptor is free for a pidfd, repeat the cleanup soon.
        """
        try:
            fd = move_above_streams(os.pidfd_open(pid))
        except ProcessLookupError:
            return False
        except OSError:
            self._loop.call_at(self._loop.now.run_ms + _RETRY_MS, self.orphan_exited)
            return True
        self._watched_pids.add(pid)
        self._loop.watch(fd, partial(self._survivor_exited, pid, fd))
        return True

    def _survivor_exited(self, pid: int, fd: int) -> None:
        self._loop.unwatch(fd)
        os.close(fd)
        self._watched_pids.discard(pid)
        self.orphan_exited()

    def _time_out(self, child: C) -> None:
        """Complete the cleanup although processes are left that cannot be killed: they hang in the
        kernel or belong to another user. Release them, so that they do not delay later children."""
        if child.pid in self._waiting:
            with suppress(OSError):
                self._leave(child, self.descendants.find_survivors(child))
            self._complete(child)

    def _leave(self, child: C, survivors: list[ProcessInfo]) -> None:
        if child.frozen_since_ms is not None:
            # The leader was killed while its tree was frozen: nobody would thaw the others.
            thaw_tree(child, lambda: survivors)
        child.left = [(each.pid, procfs.read_name(each.pid)) for each in survivors]
        self.descendants.release(child, survivors)

    def reap_orphans(self) -> list[Child | None]:
        """Reap dead orphans, and add their usage to the children that they belonged to. Return
        these; None for an orphan whose child is unknown."""
        owners = []
        for child, rusage in self.descendants.reap_orphans():
            owners.append(child)
            if child:
                child.usage = supervise_usage.add_rusage(child.usage, rusage, 0.0)
        return owners
