"""Supervisor thread of a host program: runs its children. One per process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.model.outcome import Stopped
from mythjobs.process import kernel
from mythjobs.process.library.child import CallerStreams, LibraryChild
from mythjobs.process.spawn.errors import setup_error
from mythjobs.process.spawn.pool import SpawnPool, block_signals
from mythjobs.process.supervise.descendants import GuestDescendants
from mythjobs.process.supervise.loop import EventLoop, log_exception
from mythjobs.process.supervise.supervisor import Supervisor

# How long the exit of the host program waits for children after their grace period.
_EXIT_WAIT_S: Final = 5.0


class SupervisorThread:
    """Installs no signal handler, receives no signal, and reaps only its own children."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._pool = SpawnPool(embedded=True)
        self._supervisor: Supervisor[LibraryChild] = Supervisor(self._loop, self._pool, self)
        self._descendants = GuestDescendants(self._supervisor.leaders)
        self._supervisor.cleanup.descendants = self._descendants
        # Children that have not ended, so that they are reaped even if the caller drops them.
        self._live: set[LibraryChild] = set()
        self._thread = threading.Thread(target=self._run, name="mythsystem", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        block_signals()
        while True:
            try:
                self._loop.run_once()
            except Exception:
                log_exception()

    # Called from any thread.

    def start(self, child: LibraryChild) -> CallerStreams:
        self._live.add(child)
        try:
            streams = child.create_pipes()
        except OSError as error:
            outcome = setup_error(error, "creating a pipe").outcome()
            self._loop.call_soon(partial(self._supervisor.fail_start, child, outcome))
            return CallerStreams()
        self._supervisor.spawn(child)
        return streams

    def stop(self, child: LibraryChild, by: str, grace_s: float | None) -> None:
        self._loop.call_soon(partial(self._supervisor.stop, child, Stopped(by), grace_s))

    def call(self, function: Callable[[Supervisor[LibraryChild]], object]) -> object:
        """Run `function` in the supervisor's thread; return or raise what it does."""
        results: list[object] = []
        done = threading.Lock()
        done.acquire()

        def run() -> None:
            try:
                results.append(function(self._supervisor))
            except Exception as error:
                results.append(error)
            finally:
                done.release()

        self._loop.call_soon(run)
        with done:
            pass
        [result] = results
        if isinstance(result, Exception):
            raise result
        return result

    def adopt_orphans(self) -> None:
        kernel.become_subreaper()
        self._descendants.is_host_subreaper = True

    # Events from the supervisor (ChildEvents).

    def spawned(self, child: LibraryChild) -> None:
        child.mark_started()

    def outlived_start(self, child: LibraryChild) -> None:
        pass

    def thawed_for_stop(self, child: LibraryChild) -> None:
        pass

    def ended(self, child: LibraryChild) -> None:
        self._live.discard(child)
        child.mark_ended()

    # Exit and fork of the host program.

    def end_children(self) -> None:
        """At exit: end the children that must not outlive the program."""
        ending = [child for child in self._live.copy() if child.at_exit == "end"]
        for child in ending:
            self.stop(child, "exit", None)
        for child in ending:
            child.wait_ended(child.grace_s + _EXIT_WAIT_S)
        self._supervisor.close()

    def close_after_fork(self) -> None:
        """In a forked copy of this process: close descriptors that belong to the parent."""
        for child in self._live:
            child.close_after_fork()
        self._loop.close()
        self._descendants.close()


_instance: SupervisorThread | None = None
_lock = threading.Lock()


def supervisor_thread() -> SupervisorThread:
    global _instance
    if _instance is None:
        with _lock:
            if _instance is None:
                _instance = SupervisorThread()
    return _instance


def _after_fork_in_child() -> None:
    global _instance, _lock
    _lock = threading.Lock()
    inherited, _instance = _instance, None
    if inherited:
        inherited.close_after_fork()


def _at_exit() -> None:
    if _instance:
        _instance.end_children()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
