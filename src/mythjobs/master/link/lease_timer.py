"""When to give up machines that are silent: only after all that they said has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mythjobs.clock import master_now

# A loop that ran this long without standing still has read every socket that had something.
_READING_S: Final = 0.5
_STALL_S: Final = 0.25


class Patience:
    """Calls `tick(read_ms)` when something is due and the loop has read what had come by then."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick = tick
        self._due_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None

    def until(self, due_ms: int | None) -> None:
        """The next instant (steady) at which something may be given up; None for never."""
        if due_ms == self._due_ms and (self._timer or self._reading):
            return
        self._due_ms = due_ms
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is not None and self._reading is None:
            loop = asyncio.get_running_loop()
            delay_s = max(0.0, (due_ms - master_now().steady_ms) / 1000)
            self._timer = loop.call_later(delay_s, self._ring)

    def close(self) -> None:
        self.until(None)
        if self._reading is not None:
            self._reading.cancel()

    def _ring(self) -> None:
        self._timer = None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """After a stall (a stopped process, a suspended machine) the sockets are full of what came
        meanwhile, and a timer rings before they are read."""
        now = asyncio.get_running_loop().time
        read_ms = master_now().steady_ms
        quiet_s = 0.0
        while quiet_s < _READING_S:
            began = now()
            await asyncio.sleep(_STALL_S / 5)
            quiet_s = quiet_s + _STALL_S / 5 if now() - began < _STALL_S else 0.0
        self._reading = None
        due_ms, self._due_ms = self._due_ms, None
        self._tick(read_ms)
        # What the turn answers sets the next; until then the old one stands.
        self.until(due_ms if due_ms is not None and due_ms > read_ms else None)
