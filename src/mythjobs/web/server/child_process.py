"""Child processes of the master: waits for their exit, and delays of restarts."""

from __future__ import annotations

import asyncio
from typing import Final

# After a child has run this long, the next restart is without delay.
_STABLE_S: Final = 60.0
_MIN_BACKOFF_S: Final = 1.0


class RestartDelay:
    """Exponential back-off of restarts: none at first, then 1 s, twice as long each time."""

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._next_s = 0.0

    def next_s(self, ran_s: float) -> float:
        """Return how long to wait before the next start. ran_s: how long the child has run."""
        wait_s = 0.0 if ran_s >= _STABLE_S else self._next_s
        self._next_s = min(max(2 * wait_s, _MIN_BACKOFF_S), self._max_s)
        return wait_s


async def wait_readable(fd: int) -> None:
    """Wait until a descriptor is readable: a pidfd is when its process has exited."""
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(fd, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(fd)
