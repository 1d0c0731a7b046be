"""Lease timer: fires only after the event loop has read all pending input from the agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mythjobs.clock import master_now

# When the event loop has run for _DRAIN_S without being blocked for _STALL_S at a time, it has read
# every socket that had input before.
_DRAIN_S: Final = 0.5
_STALL_S: Final = 0.25


class LeaseTimer:
    """Calls `tick(read_ms)` once the due time has passed and all input up to `read_ms` was read."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick = tick
        self._due_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._draining: asyncio.Task[None] | None = None

    def set_due(self, due_ms: int | None) -> None:
        """Set the time (monotonic clock) at which the timer fires; None disarms the timer."""
        if due_ms == self._due_ms and (self._timer or self._draining):
            return
        self._due_ms = due_ms
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is not None and self._draining is None:
            loop = asyncio.get_running_loop()
            delay_s = max(0.0, (due_ms - master_now().steady_ms) / 1000)
            self._timer = loop.call_later(delay_s, self._fire)

    def close(self) -> None:
        self.set_due(None)
        if self._draining is not None:
            self._draining.cancel()

    def _fire(self) -> None:
        self._timer = None
        self._draining = asyncio.create_task(self._tick_after_drain())

    async def _tick_after_drain(self) -> None:
        # After a stall (a stopped process, a suspended machine) the sockets hold unread heartbeats,
        # and asyncio runs this timer before it reads them. Wait until they have been read.
        now = asyncio.get_running_loop().time
        read_ms = master_now().steady_ms
        quiet_s = 0.0
        while quiet_s < _DRAIN_S:
            began = now()
            await asyncio.sleep(_STALL_S / 5)
            quiet_s = quiet_s + _STALL_S / 5 if now() - began < _STALL_S else 0.0
        self._draining = None
        due_ms, self._due_ms = self._due_ms, None
        self._tick(read_ms)
        # Start the timer again for a due time after `read_ms`. Otherwise disarm it: the turn that
        # handles this tick sets the next due time.
        self.set_due(due_ms if due_ms is not None and due_ms > read_ms else None)
