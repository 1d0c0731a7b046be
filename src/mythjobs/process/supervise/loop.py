"""One epoll, one heap of timers, one way to wake it from another thread. No polling."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import sys
import traceback
from collections import deque
from collections.abc import Callable
from typing import Final

from mythjobs.clock import Now, machine_now

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
_MOST_EVENTS: Final = 256
_FEW_TIMERS: Final = 1024
# epoll_wait(2) takes ms in 31 bits, which is 24 days; a limit may be further off.
_LONGEST_S: Final = 86_400.0


class Loop:
    """`now` is read once a turn. All but `call_soon` is for the thread that runs it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[int, int, list[Callable[[], None]]]] = []
        self._most_timers = _FEW_TIMERS
        self._numbers = itertools.count()
        self._soon: deque[Callable[[], None]] = deque()
        self._asleep = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.now: Now = machine_now()
        self.watch(self._bell, self._rung)

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def rewatch(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Always before close(): a child that has not yet done its exec holds a copy of the
        descriptor, and the kernel would go on telling events of a number that is gone."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def at(self, run_ms: int, callback: Callable[[], None]) -> list[Callable[[], None]]:
        """Call it once CLOCK_MONOTONIC has come to `run_ms`; clearing the list calls it off."""
        timer = [callback]
        if len(self._timers) > self._most_timers:
            # Those called off hours before they are due would fill the memory.
            self._timers = [each for each in self._timers if each[2]]
            heapq.heapify(self._timers)
            self._most_timers = 2 * len(self._timers) + _FEW_TIMERS
        heapq.heappush(self._timers, (run_ms, next(self._numbers), timer))
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """From any thread, and from a signal handler."""
        self._soon.append(callback)
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._bell, 1)

    def _rung(self) -> None:
        os.eventfd_read(self._bell)

    def turn(self) -> None:
        """Sleep until something happens, and carry out all that has."""
        # The order matters: who appends looks at _asleep afterwards, we the other way round.
        self._asleep = True
        events = self._epoll.poll(self._timeout(), _MOST_EVENTS)
        self._asleep = False
        self.now = machine_now()
        callbacks = self._callbacks
        for fd, _ in events:
            # An earlier event of this turn may have closed it.
            if callback := callbacks.get(fd):
                self._run(callback, fd)
        soon = self._soon
        while soon:
            self._run(soon.popleft(), -1)
        while self._timers and self._timers[0][0] <= self.now.run_ms:
            for callback in heapq.heappop(self._timers)[2]:
                self._run(callback, -1)

    def _timeout(self) -> float | None:
        if self._soon:
            return 0.0
        while self._timers and not self._timers[0][2]:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        due_ms = self._timers[0][0] - machine_now().run_ms
        return min(max(0, due_ms) / 1000, _LONGEST_S)

    def close(self) -> None:
        """In a forked child, to which it is of no use; it must not be turned any more."""
        self._epoll.close()
        os.close(self._bell)

    def _run(self, callback: Callable[[], None], fd: int) -> None:
        try:
            callback()
        except Exception:
            # A bug of ours costs what it was in, not all the other jobs.
            log_exception()
            if fd in self._callbacks:
                self.unwatch(fd)


def log(sentence: str) -> None:
    """Into the reaper's log, which is its stderr. If its disk is full that is not said."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def log_exception() -> None:
    """The one that is being handled, a bug of ours."""
    log(traceback.format_exc())
