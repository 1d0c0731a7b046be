"""Threads for reads that take minutes, such as a check of all invariants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

# Number of long reads at once.
_LIMIT: Final = 2


class LongReads:
    """Runs functions in threads of their own, so that they never delay other reads.

    The threads are daemons: the interpreter exits without them, whereas it would wait for those of
    a ThreadPoolExecutor. All methods are called in one event loop.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._free = asyncio.Semaphore(limit)
        self._running: set[asyncio.Future[None]] = set()

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of `function` in a thread, or raise its exception.

        At most `limit` run at once. One whose caller was cancelled counts until it has ended.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()
        self._running.add(ended)

        def finish(action: Callable[..., None], value: object) -> None:
            self._running.discard(ended)
            ended.set_result(None)
            self._free.release()
            if not answer.done():  # else the caller was cancelled
                action(value)

        def call() -> None:
            try:
                done: tuple[Callable[..., None], object] = answer.set_result, function()
            except Exception as error:
                done = answer.set_exception, error
            with suppress(RuntimeError):  # the event loop was closed
                loop.call_soon_threadsafe(finish, *done)

        try:
            threading.Thread(target=call, name="long-read", daemon=True).start()
        except RuntimeError as error:  # the process has too many threads
            finish(answer.set_exception, error)
        return await answer

    async def wait_ended(self, timeout_s: float) -> None:
        """Wait until no function runs, but not longer than this."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
