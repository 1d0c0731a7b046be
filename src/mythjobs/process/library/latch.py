"""Latch: an event that is set once, for threads and signal handlers."""

from __future__ import annotations

import threading


class Latch:
    """Event that is set once. Unlike with threading.Event, a waiting thread holds no lock that
    others need: a signal handler may wait for the same latch as the thread that it interrupts."""

    __slots__ = ("_waiting", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        # One lock per waiting thread, released when the latch is set.
        self._waiting: list[threading.Lock] = []

    def set(self) -> None:
        self.is_set = True
        while self._waiting:
            self._waiting.pop().release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the latch is set; return False if `timeout_s` has passed first."""
        if self.is_set:
            return True
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        # Check again: set() may have released all locks before this one was appended.
        if not self.is_set:
            seconds = -1.0 if timeout_s is None else min(max(timeout_s, 0), threading.TIMEOUT_MAX)
            lock.acquire(timeout=seconds)
        if not self.is_set:
            # If the lock is no longer in the list, set() is releasing it at this moment.
            try:
                self._waiting.remove(lock)
            except ValueError:
                return True
        return self.is_set
