"""Limit monitor, which notices breaches of limits on process trees, and the assignment of cgroups
to children whose limits need one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Breached, Outcome
from mythjobs.process.cgroup import CgroupPool, ChildCgroup, open_cgroup_pool
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.reserve import is_shortage
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.supervise import usage
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.limit_check import LimitCheck

_EVENT_POLL_MS: Final = 100
_RETRY_MS: Final = 50
# Shorter limits on times may be hit in a child's first milliseconds.
_SHORT_LIMIT_S: Final = 0.1


class LimitMonitor:
    """Stops children that breach a limit: on events of their cgroup, or after periodic checks for
    limits that no cgroup enforces.

    Runs in the event loop's thread. Children without such limits need no timer.
    """

    def __init__(self, loop: EventLoop, stop: Callable[[Child, Outcome], None]) -> None:
        self._loop = loop
        self._stop_child = stop

    def start(self, child: Child) -> None:
        limits = child.limits
        if child.cgroup and (limits.memory_bytes is not None or limits.processes is not None):
            self._watch_events(child)
        if _needs_checks(child):
            self._start_checks(child)

    def update(self, child: Child) -> None:
        """Apply the limits of a child after a change."""
        self._cancel_timers(child)
        self._unwatch_events(child)
        if child.cgroup:
            child.unenforced = child.cgroup.set_limits(child.limits)
        else:
            child.unenforced = {
                name: child.unenforced.get(name, "it was started without a cgroup")
                for name in _cgroup_limits(child.limits)
            }
        if not _needs_checks(child):
            child.limit_check = None
        self.start(child)

    def pause(self, child: Child) -> None:
        """Suspend the checks of a child that is being frozen."""
        self._cancel_timers(child)

    def resume(self, child: Child, frozen_ms: int) -> None:
        if child.event_fds:
            self._poll_events(child)
        if child.limit_check:
            child.limit_check.exclude_frozen(frozen_ms)
            self._schedule_check(child, self._loop.now.run_ms)

    def stop(self, child: Child) -> None:
        """End the monitoring of a child whose process tree has ended."""
        self._cancel_timers(child)
        self._unwatch_events(child)

    def _cancel_timers(self, child: Child) -> None:
        child.check_timer.clear()
        child.event_poll_timer.clear()

    # Methods for limits that the cgroup enforces.

    def _watch_events(self, child: Child) -> None:
        assert child.cgroup
        for fd, events in child.cgroup.open_events().items():
            child.event_fds.append(fd)
            self._loop.watch(fd, partial(self._read_events, child), events)
        self._poll_events(child)

    def _poll_events(self, child: Child) -> None:
        """Read the cgroup's counters, periodically if `processes` is limited. A limit may have been
        hit before the watch began, and some kernels do not report events of the pids controller
        (cgroup v1 on Linux 6.18: pids.events never becomes readable)."""
        self._read_events(child)
        if child.limits.processes is not None:
            due_ms = self._loop.now.run_ms + _EVENT_POLL_MS
            child.event_poll_timer = self._loop.call_at(due_ms, partial(self._poll_events, child))

    def _unwatch_events(self, child: Child) -> None:
        for fd in child.event_fds:
            self._loop.unwatch(fd)
        child.event_fds.clear()

    def _read_events(self, child: Child) -> None:
        assert child.cgroup
        child.cgroup.clear_events()
        if limit := self.find_breach(child):
            self._stop_child(child, Breached(limit))

    def find_breach(self, child: Child) -> str | None:
        """Return the limit that was hit in the child's cgroup. None if no limit was hit, or if the
        cgroup's files cannot be read now."""
        with suppress(OSError):
            return child.cgroup.find_breach() if child.cgroup else None
        return None

    # Methods for limits that need periodic checks.

    def _start_checks(self, child: Child) -> None:
        previous, now_ms = child.limit_check, self._loop.now.run_ms
        child.limit_check = LimitCheck(child.limits, _sampled_limits(child), now_ms)
        if previous is not None:
            child.limit_check.continue_from(previous)
        if child.frozen_since_ms is None:
            self._check(child)

    def _schedule_check(self, child: Child, run_ms: int) -> None:
        child.check_timer.clear()
        child.check_timer = self._loop.call_at(run_ms, partial(self._check, child))

    def _check(self, child: Child) -> None:
        limit_check = child.limit_check
        if limit_check is None:
            return
        now_ms = self._loop.now.run_ms
        try:
            sample = usage.read_sample(child)
        except OSError:
            # This process lacks descriptors or memory for reading /proc: try again soon.
            self._schedule_check(child, now_ms + _RETRY_MS)
            return
        if limit := limit_check.find_breach(sample, now_ms):
            self._stop_child(child, Breached(limit))
        else:
            self._schedule_check(child, limit_check.next_check_ms(sample, now_ms))


def _needs_checks(child: Child) -> bool:
    limits = child.limits
    return (
        limits.cpu_s is not None
        or limits.idle_s is not None
        or bool(child.unenforced and _sampled_limits(child))
    )


def _sampled_limits(child: Child) -> frozenset[str]:
    """Return the names of the child's limits on memory and processes that no cgroup enforces."""
    return frozenset(child.unenforced).intersection(_cgroup_limits(child.limits))


class CgroupAllocator:
    """Assigns cgroups to children that need one.

    It opens the cgroup pool only for the first such child, in a spawn thread, because that takes
    time.
    """

    def __init__(self, keep_files: bool = False) -> None:
        self._keep_files = keep_files
        self._lock = threading.Lock()
        self._is_opened = False
        self._pool: CgroupPool | None = None

    def assign(self, child: Child) -> None:
        """Assign a cgroup if the child needs one and one is available.

        Raises CannotStart if a limit cannot be enforced, unless `best_effort` is set.
        """
        limits = child.limits
        if not self.is_needed_for(child):
            return
        if child.may_outlive_supervisor:
            # Assign no cgroup: this program may outlive the supervisor, after whose death another
            # supervisor kills all processes in its cgroups.
            why = "a program that may leave processes behind gets no cgroup"
            child.unenforced = dict.fromkeys(_cgroup_limits(limits), why)
        elif (cgroup := self._take()) is None:
            child.unenforced = dict.fromkeys(_cgroup_limits(limits), "there is no writable cgroup")
        else:
            child.cgroup = cgroup
            try:
                child.unenforced = cgroup.set_limits(limits)
            except OSError as error:
                raise setup_error(error, "setting the limits of a cgroup") from None
        if child.unenforced and not child.best_effort:
            raise CannotStart(0, "; ".join(child.unenforced_sentences))

    def is_ready_for(self, child: Child) -> bool:
        """Return whether `assign` takes microseconds: the cgroup pool is open, or not needed."""
        return self._is_opened or not self.is_needed_for(child)

    def is_needed_for(self, child: Child) -> bool:
        """Return whether `assign` gives the child a cgroup if it can."""
        return child.contain or _needs_cgroup(child.limits)

    def _take(self) -> ChildCgroup | None:
        """Return a cgroup of the pool, or None if this machine permits none. Raises CannotStart if
        the machine lacks descriptors, memory or processes now."""
        try:
            with self._lock:
                if not self._is_opened:
                    self._pool = open_cgroup_pool()
                    if self._pool:
                        self._pool.keeps_files = self._keep_files
                    self._is_opened = True
            return self._pool.take() if self._pool else None
        except OSError as error:
            if is_shortage(error):
                raise setup_error(error, "creating a cgroup") from None
            return None

    def close(self) -> None:
        if self._pool:
            self._pool.close()


def _needs_cgroup(limits: Limits) -> bool:
    """Return whether a limit applies to the process tree as a whole, so that a cgroup helps."""
    return (
        limits.cpu_s is not None
        or limits.idle_s is not None
        or limits.memory_bytes is not None
        or limits.processes is not None
    )


def has_limit_at_start(limits: Limits) -> bool:
    """Return whether a limit may be hit in the first milliseconds of a child."""
    return (
        limits.memory_bytes is not None
        or limits.output_bytes is not None
        or limits.processes is not None
        or (limits.wall_s is not None and limits.wall_s < _SHORT_LIMIT_S)
        or (limits.cpu_s is not None and limits.cpu_s < _SHORT_LIMIT_S)
        or (limits.idle_s is not None and limits.idle_s < _SHORT_LIMIT_S)
    )


def _cgroup_limits(limits: Limits) -> list[str]:
    """Return the names of the limits that only a cgroup can enforce reliably."""
    values = {"memory": limits.memory_bytes, "processes": limits.processes}
    return [name for name, value in values.items() if value is not None]
