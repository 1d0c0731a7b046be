"""The life of children, from spawn to the last word: the one owner of all its steps.

The agent's reaper and the library's thread both keep their children with this; what is to be
journalled, said or woken is their own, and they hear of it through `Owner`.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, Generic, TypeVar

from mythjobs.clock import machine_now
from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Breached, NotStarted, Outcome
from mythjobs.process.procfs import Census, Process
from mythjobs.process.spawn import errors
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.pool import Spawners
from mythjobs.process.spawn.vfork import Spawn
from mythjobs.process.supervise import rlimits, signals
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.child import Child, Owner
from mythjobs.process.supervise.cleanup import Clearing
from mythjobs.process.supervise.descendants import is_dead, members
from mythjobs.process.supervise.limits import Containers, Guard
from mythjobs.process.supervise.loop import Loop, log_exception
from mythjobs.process.supervise.signals import kill_all, send, send_all
from mythjobs.process.supervise.streams import Drain, Stream

# A child that ends within this time is drained once, at its end; only a longer one has its
# pipes watched meanwhile. It saves the short ones four system calls and a wake-up.
_LASTING_AFTER_MS: Final = 10
# How long we wait for what should be a matter of microseconds: that a pipe which nobody holds
# any more comes to its end.
_PATIENCE_MS: Final = 2000

C = TypeVar("C", bound=Child)


class Keeper(Generic[C]):
    """All but `spawn` is for the thread that runs the loop."""

    def __init__(self, loop: Loop, spawners: Spawners, owner: Owner[C]) -> None:
        self._loop = loop
        self._spawners = spawners
        self._owner = owner
        self._drain = Drain()
        self._census = Census()
        self._containers = Containers()
        self._guard = Guard(loop, self._breach)
        # Children whose leader is not reaped, by its pid.
        self.leaders: dict[int, C] = {}
        self.clearing = Clearing(loop, self._collect)

    def close(self) -> None:
        """No more children will come."""
        self._containers.close()

    # Started.

    def spawn(self, child: C) -> None:
        """From any thread. Its end will be told, whatever becomes of it."""
        self._spawners.do(partial(self._spawn, child))

    def refuse(self, child: C, why: NotStarted) -> None:
        """It is not to be started: what there is of it ends, and is told."""
        child.not_started = why
        self._loop.call_soon(partial(self._spawned, child))

    def _spawn(self, child: C, spawn: Spawn) -> None:
        """In a spawner's thread. What goes wrong is the child's outcome."""
        try:
            self._containers.hold(child)
            what = child.prepare()
            if child.tree:
                joins = tuple(child.tree.joins())
                what = what._replace(wishes=what.wishes._replace(joins=joins))
            child.after_ms = machine_now().steady_ms
            child.pid = spawn(what)
            child.born = machine_now()
            rlimits.settle(child)
            child.pidfd = os.pidfd_open(child.pid)
        except CannotStart as refused:
            child.not_started = refused.outcome()
        except OSError as error:
            what_failed = "watching its process" if child.born else "this machine"
            child.not_started = errors.at_preparing(error, what_failed).outcome()
        except Exception as error:
            log_exception()
            child.not_started = NotStarted(0, f"a bug of ours: {error!r}")
        finally:
            child.prepared()
            self._loop.call_soon(partial(self._spawned, child))

    def _spawned(self, child: C) -> None:
        for end in child.ends:
            os.close(end)
        child.open = child.streams[:]
        if child.not_started:
            if child.born:
                # We would not hear of its end: then it must not have been started.
                send(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                child.born = None
            if child.tree:
                child.tree.close()
            self._close_all(child)
            self._finish(child)
            return
        self._loop.watch(child.pidfd, partial(self._exited, child))
        self.leaders[child.pid] = child
        child.known = True
        # Its limits may have changed while it was being spawned.
        rlimits.move_backstop(child)
        self._owner.spawned(child)
        self._set_timers(child)
        if child.ending:
            # It was asked to stop while it was being spawned.
            self._terminate(child)
        elif child.holders:
            self._freeze(child)

    def _set_timers(self, child: C) -> None:
        assert child.born
        if child.limits.output_bytes is not None:
            self._last(child)
        else:
            due_ms = child.born.run_ms + _LASTING_AFTER_MS
            child.timers.append(self._loop.at(due_ms, partial(self._last, child)))
        if child.limits.wall_s is not None:
            self._set_wall(child)
        self._guard.begin(child)

    def _breach(self, child: Child, why: Outcome) -> None:
        if child.pid in self.leaders:
            self.stop(self.leaders[child.pid], why)

    def _set_wall(self, child: C) -> None:
        """Frozen time does not count: while it is frozen no timer runs."""
        child.wall_timer.clear()
        wall_s = child.limits.wall_s
        if wall_s is None or child.frozen_since_ms is not None or child.ending:
            return
        assert child.born
        due_ms = child.born.run_ms + child.frozen_ms + round(wall_s * 1000)
        child.wall_timer = self._loop.at(due_ms, partial(self.stop, child, Breached("wall")))

    def _last(self, child: C) -> None:
        if child.lasting:
            return
        child.lasting = True
        if not child.exited:
            child.peak_bytes = supervise_usage.peak_of(child.pid)
        for stream in child.open:
            self._loop.watch(stream.fd, partial(self._readable, child, stream))
        self._owner.lasting(child)

    def _readable(self, child: C, stream: Stream) -> None:
        if not self._drain.read_once(stream):
            self._close_stream(child, stream)
            if child.exit_status is not None and not child.open:
                self._finish(child)
            return
        most = child.limits.output_bytes
        if most is not None and child.written > most:
            self.stop(child, Breached("output"))

    def _close_stream(self, child: C, stream: Stream) -> None:
        if child.lasting:
            self._loop.unwatch(stream.fd)
        os.close(stream.fd)
        child.open.remove(stream)

    # Told to do something while it runs.

    def change(self, child: C, limits: Limits) -> None:
        """Other limits from now on, counted from its start all the same."""
        if limits == child.limits:
            return
        child.limits = limits
        if child.running:
            self._set_wall(child)
            rlimits.move_backstop(child)
            self._guard.change(child)
            if child.frozen_since_ms is not None:
                self._guard.froze(child)
            if limits.output_bytes is not None:
                self._last(child)

    def signal(self, child: C, number: int) -> int:
        """To its whole tree; how many processes got it."""
        return send_all(child, members(child), number) if child.running else 0

    def tree(self, child: C) -> list[Process]:
        """What is there of it: its tree, or what its dead leader left."""
        if not child.known or child.exit_status is not None:
            return []
        return self.clearing.kin.left(child) if child.exited else members(child)

    def hold(self, child: C, holder: str, on: bool) -> None:
        """It is frozen while anybody holds it; one that is being ended no longer is."""
        if child.ending or child.exited:
            return
        was = bool(child.holders)
        if on:
            child.holders.add(holder)
        else:
            child.holders.discard(holder)
        if bool(child.holders) == was or not child.known:
            return
        if child.holders:
            self._freeze(child)
        else:
            self._thaw(child)

    def _freeze(self, child: C) -> None:
        child.wall_timer.clear()
        self._guard.froze(child)
        signals.freeze(child, self._loop.now.run_ms)

    def _thaw(self, child: C) -> None:
        if child.frozen_since_ms is None:
            return
        frozen_ms = signals.thaw(child, self._loop.now.run_ms)
        self._set_wall(child)
        self._guard.thawed(child, frozen_ms)

    # Ended by us.

    def stop(self, child: C, why: Outcome, grace_s: float | None = None) -> None:
        """TERM to its tree, KILL after the grace. The first to ask is the one that is told;
        who asks again can only shorten the grace."""
        if child.exited or child.not_started:
            return
        if child.ending:
            self._hurry(child, grace_s)
            return
        if child.born and is_dead(child.pid):
            # It came before us, and what it says of itself is the truth.
            return
        child.ending = why
        if grace_s is not None:
            child.grace_s = grace_s
        held = bool(child.holders)
        child.holders.clear()
        if child.known:
            self._terminate(child)
        if held:
            self._owner.let_go(child)

    def _hurry(self, child: C, grace_s: float | None) -> None:
        if grace_s is None or not child.known:
            return
        due_ms = self._loop.now.run_ms + round(grace_s * 1000)
        if due_ms < child.kill_at_ms:
            child.kill_at_ms = due_ms
            child.timers.append(self._loop.at(due_ms, partial(self._kill, child)))

    def _terminate(self, child: C) -> None:
        child.wall_timer.clear()
        # First of all: whatever goes wrong with the asking, the end comes.
        child.term_ms = self._loop.now.run_ms
        child.kill_at_ms = child.term_ms + round(child.grace_s * 1000)
        child.timers.append(self._loop.at(child.kill_at_ms, partial(self._kill, child)))
        if child.grace_s > 0:
            found = self._members(child)
            self._remember(child, found)
            send_all(child, found, signal.SIGTERM)
            # What has been stopped (SIGSTOP) sees TERM only when it goes on.
            send_all(child, found, signal.SIGCONT)
        if child.frozen_since_ms is not None:
            child.frozen_ms += child.term_ms - child.frozen_since_ms
            child.frozen_since_ms = None
            if child.tree:
                child.tree.thaw()

    def _kill(self, child: C) -> None:
        if child.grace_over:
            return
        child.grace_over = True
        if child.exited:
            self.clearing.clear(child)
        else:
            found = self._members(child)
            self._remember(child, found)
            kill_all(child, found)

    def _members(self, child: C) -> list[Process]:
        """All that can be found; of a machine without a free descriptor, whom it has seen."""
        try:
            return members(child, partial(self._census.at, self._loop.now))
        except OSError:
            log_exception()
            return list(child.family.values())

    def _remember(self, child: C, found: list[Process]) -> None:
        """What is killed together with its parent is waited for by nobody, or not by us."""
        if len(found) > 1:
            with suppress(OSError):
                child.seen = supervise_usage.usage(child) or child.seen

    # Ended.

    def _exited(self, child: C) -> None:
        """Its leader is dead and not reaped: its zombie keeps the number taken, as a pid and
        as the number of group and session, so that none of them can be a stranger's."""
        self._loop.unwatch(child.pidfd)
        os.close(child.pidfd)
        child.exited = True
        self._guard.end(child)
        if child.tree and not child.ending and (limit := child.tree.breach()):
            # The kernel ended it, or it gave up itself, before we heard of it. It is over: a
            # grace would be for nobody.
            child.ending = Breached(limit)
            child.grace_over = True
        self.clearing.clear(child)

    def _collect(self, child: C) -> None:
        child.call_off()
        _, status, usage = os.wait4(child.pid, 0)
        del self.leaders[child.pid]
        child.exit_status = status
        assert child.born
        wall_s = (self._loop.now.run_ms - child.born.run_ms) / 1000
        child.usage = supervise_usage.add(child.usage, usage, max(wall_s, 0.0), child.peak_bytes)
        if child.tree:
            child.usage = supervise_usage.of_tree(child.usage, child.tree.usage())
            child.tree.close()
            child.tree = None
        elif child.seen:
            child.usage = supervise_usage.at_least(child.usage, child.seen)
        if child.frozen_ms:
            child.usage = replace(child.usage, frozen_s=child.frozen_ms / 1000)
        for stream in child.open[:]:
            if self._drain.read_all(stream):
                self._close_stream(child, stream)
        if not child.open:
            self._finish(child)
            return
        # A child that is being spawned this moment has a copy of the pipe until its exec.
        # Or something got away from us and holds it: that must not hold up the end.
        self._last(child)
        due_ms = self._loop.now.run_ms + _PATIENCE_MS
        child.timers.append(self._loop.at(due_ms, partial(self._cut_off, child)))

    def _cut_off(self, child: C) -> None:
        self._close_all(child)
        self._finish(child)

    def _close_all(self, child: C) -> None:
        for stream in child.open[:]:
            self._close_stream(child, stream)

    def _finish(self, child: C) -> None:
        child.call_off()
        self._owner.over(child)
