"""Supervisor thread in a host program (a program that uses this library): supervises all children
that the host program starts through MythSystem. A process has at most one."""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.clock import machine_now
from mythjobs.model.outcome import NotStarted, Stopped
from mythjobs.process import kernel
from mythjobs.process.event_loop import WRITE, EventLoop, log_exception
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.child import LibraryChild
from mythjobs.process.library.latch import Latch
from mythjobs.process.library.spec import CallerStreams, closed_streams
from mythjobs.process.native_thread import NativeThread
from mythjobs.process.quick_calls import UmaskReader
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.spawn.native import NativeSpawner
from mythjobs.process.spawn.pool import THREADS, SpawnPool, block_signals
from mythjobs.process.supervise.guest_descendants import GuestDescendants
from mythjobs.process.supervise.supervisor import Supervisor

# When the host program exits: how long to wait for programs that are being started, and for
# children after their grace period.
_EXIT_WAIT_S: Final = 5.0


class SupervisorThread:
    """Thread that supervises children. To leave the host program alone, it installs no signal
    handler, receives no signals, and reaps only children that it has started."""

    def __init__(self) -> None:
        """Start the thread. Raises OSError if no descriptor is free, RuntimeError if no thread can
        be created."""
        self.pid = os.getpid()
        self._loop = EventLoop()
        self._pool = SpawnPool(embedded=True)
        self._spawner = _create_spawner(self._loop)
        self._supervisor: Supervisor[LibraryChild] = Supervisor(
            self._loop, self._pool, self, self._spawner
        )
        # Children that have not ended. This reference keeps them supervised until they are reaped,
        # even if the caller drops their handles.
        self._live: set[LibraryChild] = set()
        try:
            self._descendants = GuestDescendants(self._loop, self._supervisor.leaders)
            self._supervisor.cleanup.descendants = self._descendants
            self._umask = UmaskReader()
            NativeThread(self._run).start()
        except BaseException:
            self._close()
            raise

    def _run(self) -> None:
        block_signals()
        while True:
            try:
                self._loop.run_once()
            except Exception:
                log_exception()

    # Methods that may be called from any thread.

    def start(self, child: LibraryChild) -> CallerStreams:
        """Start `child` and return the caller's streams. A failure becomes the child's outcome."""
        self._live.add(child)
        try:
            streams = child.open_resources(self._umask.read())
            self._supervisor.starts.start(child)
        except CannotStart as error:
            return self._fail_start(child, error.outcome())
        except OSError as error:
            return self._fail_start(child, setup_error(error, "creating a pipe").outcome())
        except RuntimeError as error:
            reason = NotStarted(errno.EAGAIN, f"creating a thread: {error}")
            return self._fail_start(child, reason)
        except BaseException:
            # A signal handler has raised an exception such as KeyboardInterrupt: the caller gets no
            # handle, so keep no reference to the child.
            self._live.discard(child)
            raise
        if child.spec.pass_fds:
            # Wait for exec: the program gets these descriptors under the same numbers, so the
            # caller must not close them before.
            self.wait(child.started, None)
        return streams

    def _fail_start(self, child: LibraryChild, reason: NotStarted) -> CallerStreams:
        child.release_resources()
        self._loop.call_soon(partial(self._supervisor.starts.fail, child, reason))
        return closed_streams(child.spec)

    def stop(self, child: LibraryChild, by: str, grace_s: float | None) -> None:
        self._loop.call_soon(partial(self._supervisor.stop, child, Stopped(by), grace_s))

    def call(self, function: Callable[[Supervisor[LibraryChild]], object]) -> object:
        """Run `function` in the supervisor's thread. Return its result or raise its exception."""
        results: list[object] = []
        done = Latch()

        def run() -> None:
            try:
                results.append(function(self._supervisor))
            except Exception as error:
                results.append(error)
            finally:
                done.set()

        self._loop.call_soon(run)
        self.wait(done, None)
        result = results[0] if results else None
        if isinstance(result, Exception):
            raise result
        return result

    def wait(self, latch: Latch, timeout_s: float | None) -> bool:
        """Wait for a latch that the supervisor sets; return False after `timeout_s`.

        While the interpreter finalizes, other threads no longer run. The calling thread then runs
        the event loop itself: it supervises the children, but cannot start one.
        """
        if not sys.is_finalizing():
            return latch.wait(timeout_s)
        wait_s = _EXIT_WAIT_S if timeout_s is None else min(timeout_s, _EXIT_WAIT_S)
        due_ms = machine_now().run_ms + round(wait_s * 1000)
        self._loop.call_at(due_ms, lambda: None)
        while not latch.is_set and machine_now().run_ms < due_ms:
            self._loop.run_once()
        return latch.is_set

    def adopt_orphans(self) -> None:
        kernel.become_subreaper()
        self._descendants.is_host_subreaper = True

    # Methods of ChildEvents, called by the supervisor.

    def spawned(self, child: LibraryChild) -> None:
        feed = child.resources.feed
        if feed and feed.fd >= 0:
            self._loop.watch(feed.fd, partial(self._feed, child), WRITE)
        child.started.set()

    def _feed(self, child: LibraryChild) -> None:
        feed = child.resources.feed
        if feed and feed.fd >= 0 and feed.write():
            self._loop.unwatch(feed.fd)
            feed.close()

    def outlived_start(self, child: LibraryChild) -> None:
        pass

    def thawed_for_stop(self, child: LibraryChild) -> None:
        pass

    def ended(self, child: LibraryChild) -> None:
        feed = child.resources.feed
        if feed and feed.fd >= 0 and child.has_spawned:
            self._loop.unwatch(feed.fd)
        self._live.discard(child)
        child.mark_ended()

    # Methods for the exit and for forks of the host program.

    def end_children(self) -> None:
        """Stop the children that must not outlive the host program, when this exits, and wait for
        their end."""
        ending = [child for child in self._live.copy() if child.at_exit == "end"]
        for child in ending:
            self.stop(child, "exit", None)
        deadline_s = time.monotonic() + _EXIT_WAIT_S
        for child in self._live.copy():
            # Wait for programs that are being started: the threads that spawn them end with this
            # process.
            child.started.wait(deadline_s - time.monotonic())
        for child in ending:
            child.ended.wait(child.grace_s + _EXIT_WAIT_S)
        self._supervisor.close()

    def close_after_fork(self) -> None:
        """Close the parent's descriptors in a forked child of the host program."""
        for child in self._live:
            for stream in child.streams:
                if isinstance(stream.sink, Buffer):
                    stream.sink.forget()
        self._close()

    def _close(self) -> None:
        for each in ("_descendants", "_umask"):
            # They are missing if their creation has failed.
            if hasattr(self, each):
                getattr(self, each).close()
        if self._spawner:
            self._spawner.close()
        self._loop.close()


def _create_spawner(loop: EventLoop) -> NativeSpawner | None:
    """Return the spawner in C. Without it (it was not compiled, or the machine lacks threads or
    descriptors), the spawn pool serves all starts."""
    try:
        return NativeSpawner(loop, 1, THREADS, embedded=True)
    except OSError:
        return None


_instance: SupervisorThread | None = None
# Lock held while the supervisor thread is created. Reentrant, because a signal handler may start a
# program.
_lock = threading.RLock()


def start_child(child: LibraryChild) -> tuple[CallerStreams, SupervisorThread | None]:
    """Start `child` under this process's supervisor thread. Return the caller's streams, and the
    thread if there is one. A failure becomes the child's outcome."""
    try:
        thread = supervisor_thread()
    except (OSError, RuntimeError) as error:
        number = error.errno if isinstance(error, OSError) else errno.EAGAIN
        child.not_started = NotStarted(number or 0, f"starting the supervisor thread: {error}")
        child.mark_ended()
        return closed_streams(child.spec), None
    return thread.start(child), thread


def stop_child(child: LibraryChild) -> None:
    """Stop a child for which no Process exists, because an exception interrupted its start."""
    if _instance:
        _instance.stop(child, "user", None)


def supervisor_thread() -> SupervisorThread:
    """Return the supervisor thread of this process; create it at the first call. Raises OSError,
    RuntimeError."""
    global _instance
    if _instance is None or _instance.pid != os.getpid():
        with _lock:
            if _instance is None or _instance.pid != os.getpid():
                new = SupervisorThread()
                # Check again: a signal handler that ran meanwhile may have created a thread.
                if _instance is None or _instance.pid != os.getpid():
                    _instance = new
    return _instance


def _after_fork_in_child() -> None:
    global _instance, _lock
    _lock = threading.RLock()
    inherited, _instance = _instance, None
    if inherited:
        inherited.close_after_fork()


def _at_exit() -> None:
    if _instance and _instance.pid == os.getpid():
        _instance.end_children()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
