"""Event loop over epoll: callbacks for file descriptors, timers, and calls from other threads."""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import os
import select
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.clock import Now, machine_now
from mythjobs.process.quick_calls import FIRST_FD, move_above_streams

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
_MAX_EVENTS: Final = 256
_COMPACT_MARGIN: Final = 1024
# Errors of epoll_ctl(2) that may pass: no memory, or the user's limit of watches is reached.
_FULL: Final = (errno.ENOMEM, errno.ENOSPC)
_POLL_INTERVAL_MS: Final = 20
# Longest timeout of one epoll_wait(2), which takes at most 2^31 - 1 ms (24 days). The loop waits
# again if the next timer is later.
_MAX_WAIT_S: Final = 86_400.0


def _create_epoll() -> select.epoll:
    epoll = select.epoll()
    if epoll.fileno() >= FIRST_FD:
        return epoll
    with epoll:
        return select.epoll.fromfd(move_above_streams(os.dup(epoll.fileno())))


class EventLoop:
    """Event loop of one thread. Other threads may call only `call_soon`. `now` is the time at which
    the current iteration began."""

    def __init__(self) -> None:
        """Create the loop's descriptors. Raises OSError if none is free."""
        self._epoll = _create_epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[int, int, list[Callable[[], None]]]] = []
        self._compact_above = _COMPACT_MARGIN
        self._sequence = itertools.count()
        self._pending_calls: deque[Callable[[], None]] = deque()
        self._is_waiting = False
        try:
            fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._wakeup_fd = move_above_streams(fd)
        except OSError:
            self._epoll.close()
            raise
        self.now: Now = machine_now()
        self.watch(self._wakeup_fd, self._clear_wakeup)

    @property
    def epoll_fd(self) -> int:
        """Descriptor of the epoll instance, to which the spawner adds pidfds (spawn/native.py)."""
        return self._epoll.fileno()

    def watch_added(self, fd: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor that has been added to the epoll instance already."""
        self._callbacks[fd] = callback

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        self._callbacks[fd] = callback
        try:
            self._epoll.register(fd, events)
        except OSError as error:
            if error.errno not in _FULL:
                del self._callbacks[fd]
                raise
            self._poll_later(fd, callback, events)

    def _poll_later(self, fd: int, callback: Callable[[], None], events: int) -> None:
        """Poll a descriptor every _POLL_INTERVAL_MS until epoll accepts it: the user's limit of
        watches is reached, or memory is lacking."""
        due_ms = machine_now().run_ms + _POLL_INTERVAL_MS
        self.call_at(due_ms, partial(self._poll_unregistered, fd, callback, events))

    def _poll_unregistered(self, fd: int, callback: Callable[[], None], events: int) -> None:
        if self._callbacks.get(fd) is not callback:
            return
        try:
            self._epoll.register(fd, events)
        except OSError:
            self._poll_later(fd, callback, events)
            # Epoll's event masks are those of poll(2).
            poll = select.poll()
            poll.register(fd, events)
            if poll.poll(0):
                self._run(callback, fd)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor. Must be called before the descriptor is closed: a child that
        has not yet called exec has a copy, so the kernel keeps reporting events of the file."""
        del self._callbacks[fd]
        # Ignore the error for a descriptor that epoll had no room for: it is not registered.
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)

    def call_at(self, run_ms: int, callback: Callable[[], None]) -> list[Callable[[], None]]:
        """Call `callback` at `run_ms` on CLOCK_MONOTONIC. Return a list that holds the callback;
        clearing the list cancels the call."""
        timer = [callback]
        if len(self._timers) > self._compact_above:
            # Remove cancelled timers, which otherwise stay in memory until their time has come.
            self._timers = [each for each in self._timers if each[2]]
            heapq.heapify(self._timers)
            self._compact_above = 2 * len(self._timers) + _COMPACT_MARGIN
        heapq.heappush(self._timers, (run_ms, next(self._sequence), timer))
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` in this iteration or the next. Safe in threads and signal handlers."""
        self._pending_calls.append(callback)
        if self._is_waiting:
            self._is_waiting = False
            os.eventfd_write(self._wakeup_fd, 1)

    def _clear_wakeup(self) -> None:
        os.eventfd_read(self._wakeup_fd)

    def run_once(self) -> None:
        """Wait for events, timers or calls, and run their callbacks."""
        # Set _is_waiting before _timeout() reads the queue of calls; call_soon() appends to the
        # queue before it reads the flag. So no call from another thread is missed.
        self._is_waiting = True
        events = self._epoll.poll(self._timeout(), _MAX_EVENTS)
        self._is_waiting = False
        self.now = machine_now()
        callbacks = self._callbacks
        for fd, watched in [(fd, callbacks.get(fd)) for fd, _ in events]:
            # A callback earlier in this iteration may have unwatched the descriptor, and its number
            # may be that of another one by now, whose events come in the next iteration. Without a
            # callback before, it is a pidfd that the spawner has added.
            callback = callbacks.get(fd)
            if callback and (callback is watched or not watched):
                self._run(callback, fd)
        pending_calls = self._pending_calls
        while pending_calls:
            self._run(pending_calls.popleft(), -1)
        while self._timers and self._timers[0][0] <= self.now.run_ms:
            for callback in heapq.heappop(self._timers)[2]:
                self._run(callback, -1)

    def _timeout(self) -> float | None:
        if self._pending_calls:
            return 0.0
        while self._timers and not self._timers[0][2]:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        due_ms = self._timers[0][0] - time.monotonic_ns() // 1_000_000
        return min(max(0, due_ms) / 1000, _MAX_WAIT_S)

    def close(self) -> None:
        """Close the loop's descriptors in a forked child. The loop must not be used afterwards."""
        self._epoll.close()
        os.close(self._wakeup_fd)

    def _run(self, callback: Callable[[], None], fd: int) -> None:
        try:
            callback()
        except Exception:
            # Log a bug in one callback and go on: it must not affect other jobs. A descriptor is
            # unwatched, so that its callback does not fail again and again.
            log_exception()
            if fd in self._callbacks:
                self.unwatch(fd)


class Pacer:
    """Limits how often an event loop does something: at most once in `interval_ms`."""

    def __init__(self, loop: EventLoop, interval_ms: int) -> None:
        self._loop = loop
        self._interval_ms = interval_ms
        self._next_ms = 0
        self._is_scheduled = False

    def try_to_go(self) -> bool:
        """Return whether it may be done now. If not, the loop has an iteration once it may."""
        now_ms = self._loop.now.run_ms
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + self._interval_ms
            return True
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_at(self._next_ms, self._resume)
        return False

    def _resume(self) -> None:
        self._is_scheduled = False


def _format_plain(_: str, message: str, trace: str) -> str:
    return trace or message


_format_line: Callable[[str, str, str], str] = _format_plain


def set_log_format(format_line: Callable[[str, str, str], str]) -> None:
    """Set how log() and log_exception() format their level, message and traceback."""
    global _format_line
    _format_line = format_line


def log(sentence: str, level: str = "warning", trace: str = "") -> None:
    """Write a line to stderr, which is the reaper's log. Ignore errors such as a full disk."""
    with contextlib.suppress(OSError):
        print(_format_line(level, sentence, trace), file=sys.stderr, flush=True)


def log_exception(error: BaseException | None = None) -> None:
    """Log the traceback of an exception, by default of the one that is being handled."""
    error = error or sys.exception()
    trace = "".join(traceback.format_exception(error)).rstrip("\n")
    log(f"internal error: {error!r}", "error", trace)
