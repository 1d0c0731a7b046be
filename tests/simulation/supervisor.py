"""Model of the reaper's supervisor: starts, stops, freezes and limits simulated programs.

Of the limits it enforces `wall_s` and the grace period.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from signal import SIGKILL
from typing import TYPE_CHECKING

from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Breached, Outcome
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.reaper.attempt import ReaperAttempt
from mythjobs.process.spawn.pool import SpawnPool
from mythjobs.process.spawn.vfork import Spawn
from mythjobs.process.supervise.child import ChildEvents
from mythjobs.process.supervise.cleanup import Cleanup
from mythjobs.process.supervise.starting import Starter
from mythjobs.process.supervise.supervisor import Supervisor
from tests.simulation.program import Program

if TYPE_CHECKING:
    from tests.simulation.reaper import SimReaper


class _SimStarter(Starter[ReaperAttempt]):
    """Starts programs in threads of the simulated spawn pool."""

    def __init__(
        self,
        supervisor: SimSupervisor,
        reaper: SimReaper,
        loop: EventLoop,
        spawn_pool: SpawnPool,
    ) -> None:
        self.spawner = None
        self.nofile_for_children = None
        self._supervisor = supervisor
        self._reaper = reaper
        self._loop = loop
        self._spawn_pool = spawn_pool
        self._report = lambda child, _: supervisor.report_spawned(child)

    def can_spawn_natively(self, child: ReaperAttempt) -> bool:
        return False

    def spawn_here(self, child: ReaperAttempt, spawn: Spawn) -> None:
        if child.stop_reason is None:
            child.spawn_ms = self._reaper.clock.steady_ms()
            child.spawned_at = self._reaper.clock.now()
            on_exit = partial(self._supervisor.on_exit, child)
            child.pid = self._reaper.start_program(child, on_exit)
        self._loop.call_soon(partial(self._report, child, False))


class SimSupervisor(Supervisor[ReaperAttempt]):
    """It overrides everything that the reaper calls, so that no real process is ever touched."""

    def __init__(
        self,
        reaper: SimReaper,
        loop: EventLoop,
        spawn_pool: SpawnPool,
        events: ChildEvents[ReaperAttempt],
    ) -> None:
        self._reaper = reaper
        self._loop = loop
        self._events = events
        self.starts = _SimStarter(self, reaper, loop, spawn_pool)
        self.leaders = {}
        self.cleanup = Cleanup(loop, lambda _: None)

    def close(self) -> None:
        pass

    # Start.

    def report_spawned(self, child: ReaperAttempt) -> None:
        if child.not_started or not child.spawned_at:
            self._events.ended(child)
            return
        self.leaders[child.pid] = child
        child.has_spawned = True
        self._events.spawned(child)
        self._events.outlived_start(child)
        self._set_wall_timer(child)
        if self._program(child).has_exited:
            self._end(child)
        elif child.stop_reason:
            self._terminate(child)
        elif child.freeze_holders:
            self._freeze(child)

    def _program(self, child: ReaperAttempt) -> Program:
        return self._reaper.programs[child.key]

    # End.

    def on_exit(self, child: ReaperAttempt) -> None:
        """The program has exited; the loop notices it if it has registered the program."""
        if child.has_spawned:
            self._loop.call_soon(partial(self._end, child))

    def _end(self, child: ReaperAttempt) -> None:
        if child.has_exited:
            return
        child.has_exited = True
        program = self._program(child)
        child.cancel_timers()
        child.exit_status = program.killed_by or program.code << 8
        del self.leaders[child.pid]
        usage = program.usage()
        child.usage = Usage(wall_s=usage["wall_s"], frozen_s=usage["frozen_s"])
        self._events.ended(child)

    # Requests.

    def stop(self, child: ReaperAttempt, reason: Outcome, grace_s: float | None = None) -> None:
        if child.not_started or child.has_exited:
            return
        if child.stop_reason:
            self._shorten_grace(child, child.limits.grace_s if grace_s is None else grace_s)
            return
        if child.spawned_at and self._program(child).has_exited:
            return
        child.stop_reason = reason
        if grace_s is not None:
            child.grace_s = grace_s
        child.frozen_at_stop = frozenset(child.freeze_holders)
        child.freeze_holders.clear()
        if child.has_spawned:
            self._terminate(child)
        if child.frozen_at_stop:
            self._events.thawed_for_stop(child)

    def _terminate(self, child: ReaperAttempt) -> None:
        program = self._program(child)
        self._kill_at(child, self._loop.now.run_ms + round(1000 * child.grace_s))
        if child.grace_s > 0:
            program.freeze(False)
            program.terminate()

    def _kill_at(self, child: ReaperAttempt, run_ms: int) -> None:
        child.kill_at_ms = run_ms
        kill: Callable[[], None] = partial(self._program(child).kill, SIGKILL)
        child.timers.append(self._loop.call_at(run_ms, kill))

    def _shorten_grace(self, child: ReaperAttempt, grace_s: float) -> None:
        if not child.has_spawned:
            child.grace_s = min(child.grace_s, grace_s)
            return
        due_ms = self._loop.now.run_ms + round(1000 * grace_s)
        if due_ms < child.kill_at_ms:
            self._kill_at(child, due_ms)

    def set_freeze_holder(self, child: ReaperAttempt, holder: str, is_frozen: bool) -> None:
        if child.stop_reason or child.has_exited:
            return
        (child.freeze_holders.add if is_frozen else child.freeze_holders.discard)(holder)
        if child.has_spawned:
            self._freeze(child)

    def _freeze(self, child: ReaperAttempt) -> None:
        """Freeze or thaw the program, as its holders say."""
        program, is_on = self._program(child), bool(child.freeze_holders)
        if program.is_frozen != is_on:
            self._reaper.trace(f"{child.key} frozen by {sorted(child.freeze_holders)}")
            program.freeze(is_on)
            self._set_wall_timer(child)

    def change_limits(self, child: ReaperAttempt, limits: Limits) -> None:
        child.limits = limits
        if child.has_spawned:
            self._set_wall_timer(child)

    def _set_wall_timer(self, child: ReaperAttempt) -> None:
        """Set the timer for `wall_s`; time during which the program is frozen does not count."""
        child.wall_timer.clear()
        program, wall_s = self._program(child), child.limits.wall_s
        if wall_s is None or program.is_frozen or program.has_exited:
            return
        left_ms = round(1000 * wall_s) - self._reaper.clock.to_own_ms(program.active_ms())
        due_ms = self._loop.now.run_ms + max(left_ms, 0)
        child.wall_timer = self._loop.call_at(due_ms, partial(self.stop, child, Breached("wall")))
