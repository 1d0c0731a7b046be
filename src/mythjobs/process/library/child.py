"""A child started through MythSystem: its specification, open resources, and waiting callers."""

from __future__ import annotations

import os
from collections.abc import Callable

from mythjobs.process import descriptors
from mythjobs.process.library.latch import Latch
from mythjobs.process.library.resources import StartResources
from mythjobs.process.library.spec import CallerStreams, ChildSpec
from mythjobs.process.spawn.program import Program
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.tree_mark import choose_mark


class LibraryChild(Child):
    """A child started through MythSystem. It must not reference the caller's pipe ends: these are
    closed when the caller drops its last reference."""

    __slots__ = (
        "_done_callbacks", "at_exit", "ended", "resources", "spec", "started",
    )  # fmt: skip

    def __init__(self, spec: ChildSpec) -> None:
        super().__init__(spec.limits, spec.leave_daemons)
        self.spec = spec
        self.is_session_leader = spec.session
        self.mark = spec.mark
        self.rlimit_mark = choose_mark()
        self.contain = spec.contain
        self.best_effort = spec.best_effort
        self.at_exit = spec.at_exit
        self.resources = StartResources()
        # Shared with `resources`, so that streams which a failing start has opened get closed too.
        self.streams = self.resources.streams
        # Changed by atomic operations only: a signal handler that interrupts the holder of a lock
        # and waits for the end would keep the supervisor from reporting that end.
        self._done_callbacks: list[Callable[[], None]] = []
        self.started = Latch()
        self.ended = Latch()

    @property
    def may_outlive_supervisor(self) -> bool:
        return self.leave_daemons or self.at_exit == "leave"

    # Methods for the start of the child.

    def open_resources(self, umask: int) -> CallerStreams:
        """Open the program's streams and working directory, in the caller's thread. Return the
        caller's ends. Raises CannotStart, OSError."""
        return self.resources.open(self.spec, umask)

    def prepare(self) -> Program:
        return self.resources.make_program(self.spec)

    def release_resources(self) -> None:
        self.resources.close()

    def close_fd(self, fd: int) -> None:
        descriptors.close(fd)

    # Methods for the end of the child.

    def mark_ended(self) -> None:
        """Wake the threads that wait for the end, and call the callbacks. Outcome, usage and output
        must be final."""
        if self.resources.feed:
            self.resources.feed.close()
        for stream in self.streams:
            stream.sink.close()
        self.started.set()
        self.ended.set()
        while self._done_callbacks:
            self._done_callbacks.pop()()

    @property
    def is_done(self) -> bool:
        return self.ended.is_set

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the supervisor's thread when the child ends; if it has ended already,
        call it at once in the calling thread."""
        self._done_callbacks.append(callback)
        if self.is_done and self.remove_done_callback(callback):
            callback()

    def remove_done_callback(self, callback: Callable[[], None]) -> bool:
        """Return whether `callback` was still to be called."""
        try:
            self._done_callbacks.remove(callback)
        except ValueError:
            return False
        return True

    @property
    def exit_code(self) -> int | None:
        """Exit code of the program itself; None if it did not exit or its status is unknown."""
        status = self.exit_status
        known = status is not None and status >= 0 and os.WIFEXITED(status)
        return os.WEXITSTATUS(status) if known and status is not None else None
