"""Process supervisor: enforces the limits of children, stops and reaps them (starting.py spawns
them). The reaper and the library's thread each run one, which reports to them through
ChildEvents."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from resource import struct_rusage
from typing import Final, Generic, TypeVar

from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Breached, Outcome
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.spawn.native import NativeEnd, NativeSpawner
from mythjobs.process.spawn.pool import SpawnPool
from mythjobs.process.supervise import reaping, rlimits, signals, tree_mark
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.child import Child, ChildEvents
from mythjobs.process.supervise.cleanup import Cleanup
from mythjobs.process.supervise.descendants import find_tree
from mythjobs.process.supervise.limits import CgroupAllocator, LimitMonitor
from mythjobs.process.supervise.signals import signal_tree
from mythjobs.process.supervise.starting import SHORT_MS, Starter
from mythjobs.process.supervise.streams import Stream, StreamReader
from mythjobs.process.supervise.termination import Termination

# When the peak memory of a child is read after its start, besides at SHORT_MS.
_PEAK_SAMPLES_MS: Final = (30, 100, 300)
# Interval of checks whether a child without a pidfd has exited, or a tracer lets go of one, and of
# other things that were not possible for lack of descriptors.
_RETRY_MS: Final = 50
# How often that is checked before the end of a traced child is reported, and how often afterwards.
_TRACER_TRIES: Final = 20
_RELEASE_POLL_MS: Final = 2000
# Time to wait for end of file on a child's pipes after its tree has ended; normally microseconds.
_STREAM_EOF_TIMEOUT_MS: Final = 2000

C = TypeVar("C", bound=Child)


class Supervisor(Generic[C]):
    """Supervisor of children. Its methods must be called in the event loop's thread."""

    def __init__(
        self,
        loop: EventLoop,
        spawn_pool: SpawnPool,
        events: ChildEvents[C],
        spawner: NativeSpawner | None = None,
        *,
        keep_cgroup_files: bool = False,
    ) -> None:
        """keep_cgroup_files: faster, but only one thread may start children in cgroups."""
        self._loop = loop
        self._events = events
        self._reader = StreamReader()
        self._cgroups = CgroupAllocator(keep_cgroup_files)
        self.starts: Starter[C] = Starter(
            loop, spawn_pool, spawner, self._cgroups, self._spawned, self._ended_at_once
        )
        self._limit_monitor = LimitMonitor(loop, self._limit_breached)
        # Children whose leader has not been reaped, by the leader's pid.
        self.leaders: dict[int, C] = {}
        self.cleanup = Cleanup(loop, self._reap_leader)
        self._termination = Termination(loop, self.cleanup, self._resume_limits)

    def close(self) -> None:
        """Release the cgroups; no child may be spawned afterwards."""
        self._cgroups.close()

    # Methods for the start of a child.

    def _spawned(self, child: C, is_watched: bool = False) -> None:
        for fd in child.child_fds:
            os.close(fd)
        child.open_streams = child.streams[:]
        if child.not_started or not child.spawned_at:
            # No process exists: the start failed, or the child was stopped before its spawn.
            if child.cgroup:
                child.cgroup.close()
            self._close_streams(child)
            self._report_end(child)
            return
        self.leaders[child.pid] = child
        child.has_spawned = True
        self.cleanup.schedule_reaping()
        if is_watched:
            self._loop.watch_added(child.pidfd, partial(self._leader_exited, child))
        else:
            self._watch_leader(child)
        # In case the limits were changed during the spawn.
        self._update_cpu_rlimit(child)
        self._events.spawned(child)
        self._set_timers(child)
        if child.stop_reason:
            # A stop was requested during the spawn.
            self._termination.begin(child)
        elif child.freeze_holders:
            self._freeze(child)

    def _watch_leader(self, child: C) -> None:
        if child.pidfd < 0:
            reaping.open_pidfd(child)
        if child.pidfd >= 0:
            self._loop.watch(child.pidfd, partial(self._leader_exited, child))
        elif reaping.has_exited(child):
            self._loop.call_soon(partial(self._leader_exited, child))
        else:
            # No descriptor is free for a pidfd: try again later.
            self._retry(child, self._watch_leader)

    def _set_timers(self, child: C) -> None:
        assert child.spawned_at
        if child.limits.output_bytes is not None:
            self._start_draining(child)
        else:
            due_ms = child.spawned_at.run_ms + SHORT_MS
            child.timers.append(self._loop.call_at(due_ms, partial(self._start_draining, child)))
        self._set_wall_timer(child)
        self._limit_monitor.start(child)

    def _limit_breached(self, child: Child, reason: Outcome) -> None:
        if child.pid in self.leaders:
            self.stop(self.leaders[child.pid], reason)

    def _set_wall_timer(self, child: C) -> None:
        """Set the timer for `wall_s`, unless the child is frozen: that time does not count."""
        child.wall_timer.clear()
        wall_s = child.limits.wall_s
        if wall_s is None or child.frozen_since_ms is not None:
            return
        assert child.spawned_at
        due_ms = child.spawned_at.run_ms + child.frozen_ms + round(wall_s * 1000)
        child.wall_timer = self._loop.call_at(due_ms, partial(self.stop, child, Breached("wall")))

    def _start_draining(self, child: C) -> None:
        if child.is_draining:
            return
        child.is_draining = True
        self._sample_peak(child, 0)
        if child.is_marked_late and not child.mark and not child.has_exited:
            with suppress(OSError):
                for pid in supervise_usage.walk_tree(child.pid):
                    tree_mark.set_mark(pid, child.rlimit_mark)
        for stream in child.open_streams:
            self._loop.watch(stream.fd, partial(self._read_stream, child, stream))
        self._events.outlived_start(child)

    def _sample_peak(self, child: C, count: int) -> None:
        """Read the tree's peak memory, which may be lost at its end, a few times at its start.

        Later the peak is read only when the tree is stopped: idle children must use no CPU.
        """
        if child.has_exited:
            return
        child.peak_bytes = max(child.peak_bytes, supervise_usage.read_tree_peak_bytes(child.pid))
        if count < len(_PEAK_SAMPLES_MS):
            assert child.spawned_at
            due_ms = child.spawned_at.run_ms + _PEAK_SAMPLES_MS[count]
            again = partial(self._sample_peak, child, count + 1)
            child.timers.append(self._loop.call_at(due_ms, again))

    def _read_stream(self, child: C, stream: Stream) -> None:
        if not self._reader.read_once(stream):
            self._close_stream(child, stream)
            if child.exit_status is not None and not child.open_streams:
                self._report_end(child)
            return
        max_bytes = child.limits.output_bytes
        if max_bytes is not None and child.written_bytes > max_bytes:
            self.stop(child, Breached("output"))

    def _close_stream(self, child: C, stream: Stream) -> None:
        if child.is_draining:
            self._loop.unwatch(stream.fd)
        child.close_fd(stream.fd)
        child.open_streams.remove(stream)

    # Methods that carry out requests for a running child.

    def change_limits(self, child: C, limits: Limits) -> None:
        """Replace the limits of `child`. Time and usage still count from its start."""
        if limits == child.limits:
            return
        child.limits = limits
        if child.has_processes:
            self._set_wall_timer(child)
            self._update_cpu_rlimit(child)
            self._limit_monitor.update(child)
            if child.frozen_since_ms is not None:
                self._limit_monitor.pause(child)
            if limits.output_bytes is not None:
                self._start_draining(child)

    def _update_cpu_rlimit(self, child: C) -> None:
        try:
            rlimits.update_cpu_rlimit(child)
        except OSError:
            self._retry(child, self._update_cpu_rlimit)

    def _retry(self, child: C, method: Callable[[C], None]) -> None:
        """Call `method` again soon, which failed for lack of descriptors or memory."""
        due_ms = self._loop.now.run_ms + _RETRY_MS
        child.timers.append(self._loop.call_at(due_ms, partial(method, child)))

    def signal(self, child: C, number: int) -> int:
        """Send a signal to all processes of the tree; return how many processes received it."""
        members = self.list_tree(child)
        return signal_tree(child, members, number) if members else 0

    def list_tree(self, child: C) -> list[ProcessInfo]:
        """Return the processes of a child's tree; after the leader's exit, the survivors."""
        if not child.has_processes:
            return []
        if child.has_exited:
            return self.cleanup.descendants.find_survivors(child)
        return self._find_tree(child)

    def set_freeze_holder(self, child: C, holder: str, is_frozen: bool) -> None:
        """Add or remove a freeze holder; a child is frozen while it has at least one. Do nothing if
        the child is being stopped: a stop thaws it for good."""
        if child.stop_reason or child.has_exited:
            return
        was_frozen = bool(child.freeze_holders)
        if is_frozen:
            child.freeze_holders.add(holder)
        else:
            child.freeze_holders.discard(holder)
        if bool(child.freeze_holders) == was_frozen or not child.has_spawned:
            return
        if child.freeze_holders:
            self._freeze(child)
        else:
            self._thaw(child)

    def _freeze(self, child: C) -> None:
        child.wall_timer.clear()
        self._limit_monitor.pause(child)
        child.frozen_since_ms = self._loop.now.run_ms
        self._freeze_or_thaw_tree(child)

    def _thaw(self, child: C) -> None:
        if child.frozen_since_ms is None:
            return
        frozen_ms = self._loop.now.run_ms - child.frozen_since_ms
        child.frozen_ms += frozen_ms
        child.frozen_since_ms = None
        self._freeze_or_thaw_tree(child)
        self._resume_limits(child, frozen_ms)

    def _freeze_or_thaw_tree(self, child: C) -> None:
        """Freeze or thaw the tree, as the child's state wants it now."""
        change = signals.thaw_tree if child.frozen_since_ms is None else signals.freeze_tree
        try:
            change(child, partial(self._find_tree, child))
        except OSError:
            self._retry(child, self._freeze_or_thaw_tree)

    def _resume_limits(self, child: C, frozen_ms: int) -> None:
        self._set_wall_timer(child)
        self._limit_monitor.resume(child, frozen_ms)

    def _find_tree(self, child: C) -> list[ProcessInfo]:
        self.cleanup.reap_orphans()
        return find_tree(child, self.cleanup.descendants)

    # Methods for the stop of a child.

    def stop(self, child: C, reason: Outcome, grace_s: float | None = None) -> None:
        """Send SIGTERM to the tree, and SIGKILL after `grace_s` (None: the limits' `grace_s`). The
        `reason` of the first stop becomes the outcome. A repeated stop can only shorten the grace
        period, even if the leader is dead and only descendants are left."""
        if child.exit_status is not None or child.not_started:
            return
        if child.stop_reason:
            self._termination.shorten_grace(child, grace_s)
            return
        if child.has_exited or (child.spawned_at and reaping.has_exited(child)):
            # The leader exited before the stop: its own exit status is the outcome.
            return
        child.stop_reason = reason
        if grace_s is not None:
            child.grace_s = grace_s
        child.frozen_at_stop = frozenset(child.freeze_holders)
        child.freeze_holders.clear()
        if child.start_request:
            child.start_request.cancel()
        if child.has_spawned:
            self._termination.begin(child)
        if child.frozen_at_stop:
            self._events.thawed_for_stop(child)

    # Methods for the end of a child.

    def _leader_exited(self, child: C) -> None:
        """Start the cleanup. The leader stays a zombie until the cleanup is complete, so that its
        pid cannot be reused as the id of a process, process group or session."""
        if child.pidfd >= 0:
            self._loop.unwatch(child.pidfd)
        child.has_exited = True
        if not child.stop_reason and (limit := self._limit_monitor.find_breach(child)):
            # A limit was hit just before the exit, and its event was not read yet. The leader is
            # dead already, so there is no grace period.
            child.stop_reason = Breached(limit)
            child.has_grace_ended = True
        self.cleanup.clean_up(child)

    def _reap_leader(self, child: C, tries_left: int = _TRACER_TRIES) -> None:
        if child.exit_status is not None:
            return
        child.cancel_timers()
        self._limit_monitor.stop(child)
        try:
            rusage = reaping.reap(child)
        except reaping.HeldByTracer:
            if tries_left:
                # A program such as strace waits for it at once, and the end is then complete.
                again = partial(self._reap_leader, child, tries_left - 1)
                self._loop.call_at(self._loop.now.run_ms + _RETRY_MS, again)
                return
            # A debugger waits for its user. Report the end, and reap the zombie later.
            rusage = None
            reaping.read_traced_status(child)
            if child.pidfd >= 0:
                self._reap_released(child.pidfd)
        else:
            if child.pidfd >= 0:
                os.close(child.pidfd)
        child.pidfd = -1
        if self.leaders.get(child.pid) is child:
            del self.leaders[child.pid]
        self._finish(child, rusage)

    def _ended_at_once(self, child: C, end: NativeEnd) -> None:
        """Report the end of a child that the spawner in C has started and reaped."""
        # A stop that was requested meanwhile has not reached the child: its status is the outcome.
        child.stop_reason = None
        child.frozen_at_stop = frozenset()
        child.exit_status = end.status
        for stream, data in zip(child.streams, end.output, strict=False):
            if data:
                stream.sink.write(memoryview(data))
        child.open_streams = [each for each in child.streams if each.fd >= 0]
        self._finish(child, end.rusage)

    def _finish(self, child: C, rusage: struct_rusage | None) -> None:
        """Complete the usage of a reaped child, read the rest of its output, and report its end.

        rusage: of the leader, from wait4(2); None if it is unknown."""
        assert child.spawned_at
        wall_s = (self._loop.now.run_ms - child.spawned_at.run_ms) / 1000
        # Orphans that nobody reaps here are missing in the usage, unless a cgroup counts them.
        exact = self.cleanup.descendants.counts_orphans
        child.usage = supervise_usage.add_rusage(
            child.usage, rusage, max(wall_s, 0.0), child.peak_bytes, exact
        )
        child.usage = supervise_usage.complete_usage(child)
        if child.cgroup:
            child.cgroup.close()
            child.cgroup = None
        for stream in child.open_streams[:]:
            if self._reader.read_all(stream):
                self._close_stream(child, stream)
        if not child.open_streams:
            self._report_end(child)
            return
        # No end of file yet: a child that is being spawned has a copy of the pipe until its exec,
        # or an undetected descendant holds it. Wait a limited time, as the latter may never end.
        self._start_draining(child)
        due_ms = self._loop.now.run_ms + _STREAM_EOF_TIMEOUT_MS
        child.timers.append(self._loop.call_at(due_ms, partial(self._abandon_streams, child)))

    def _reap_released(self, pidfd: int) -> None:
        """Reap a leader once its tracer lets go of it."""
        if reaping.reap_released(pidfd):
            os.close(pidfd)
        else:
            due_ms = self._loop.now.run_ms + _RELEASE_POLL_MS
            self._loop.call_at(due_ms, partial(self._reap_released, pidfd))

    def _abandon_streams(self, child: C) -> None:
        self._close_streams(child)
        self._report_end(child)

    def _close_streams(self, child: C) -> None:
        for stream in child.open_streams[:]:
            self._close_stream(child, stream)

    def _report_end(self, child: C) -> None:
        child.cancel_timers()
        self._events.ended(child)
