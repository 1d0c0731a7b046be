"""What a dead leader left behind is ended, and only then is the leader reaped."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from mythjobs.process.procfs import Process
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import Kin
from mythjobs.process.supervise.loop import Loop
from mythjobs.process.supervise.signals import kill_all

# How long we wait for what should be a matter of microseconds: that killed processes are gone.
_PATIENCE_MS: Final = 2000

C = TypeVar("C", bound=Child)


class Clearing(Generic[C]):
    """For the thread that runs the loop. `collect` reaps a leader of whom nothing is left."""

    kin: Kin

    def __init__(self, loop: Loop, collect: Callable[[C], None]) -> None:
        self._loop = loop
        self._collect = collect
        # Their leader is dead, and something it left behind is not, yet.
        self._waiting: dict[int, C] = {}
        self._watched: set[int] = set()

    def clear(self, child: C) -> None:
        """End what the leader left behind, then reap the leader, never the other way round: its
        zombie keeps the number of group and session taken."""
        if self.kin.adopting:
            self._reap_orphans()
        if not child.leave_daemons and (left := self.kin.left(child)):
            patient = child.ending is not None and not child.grace_over
            if not patient:
                kill_all(child, left)
            self._reap_orphans()
            self._wait_for(child, left, patient)
            return
        if child.leave_daemons:
            self.kin.spare(child)
        self._is_clear(child)

    def orphans_changed(self) -> None:
        """A process died that had lost its parent before."""
        self._reap_orphans()
        for child in list(self._waiting.values()):
            self.clear(child)

    def _is_clear(self, child: C) -> None:
        self._waiting.pop(child.pid, None)
        self._collect(child)

    def _wait_for(self, child: C, left: list[Process], patient: bool) -> None:
        """Each of them that dies brings us here again, with the children that it had."""
        self._waiting[child.pid] = child
        for process in left:
            if process.pid not in self._watched and not self._watch(process.pid):
                self._loop.call_soon(self.orphans_changed)
        if not patient and not child.killing:
            child.killing = True
            due_ms = self._loop.now.run_ms + _PATIENCE_MS
            child.timers.append(self._loop.at(due_ms, partial(self._give_up, child)))

    def _watch(self, pid: int) -> bool:
        """SIGCHLD is not enough to wait for: two at a time are one, and that one may go to the
        spawner's thread whose child the other was, which does not wake the loop. False if it
        is gone already, or no descriptor is left (then the patience ends the wait)."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        self._watched.add(pid)
        self._loop.watch(fd, partial(self._left_died, pid, fd))
        return True

    def _left_died(self, pid: int, fd: int) -> None:
        self._loop.unwatch(fd)
        os.close(fd)
        self._watched.discard(pid)
        self.orphans_changed()

    def _give_up(self, child: C) -> None:
        if child.pid in self._waiting:
            self._is_clear(child)

    def _reap_orphans(self) -> None:
        for child, usage in self.kin.reap():
            if child:
                child.usage = supervise_usage.add(child.usage, usage, 0.0)
