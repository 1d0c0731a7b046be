"""Waiters: requests that wait for the end of a job or batch, in the master's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence


class Waiters:
    """Futures by kind and number: "job", "job or hold" (of a job), and "batch"."""

    def __init__(self) -> None:
        self._futures: dict[tuple[str, int], set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """Return the number of jobs and batches that requests wait for."""
        return len(self._futures)

    @contextlib.contextmanager
    def register(self, kind: str, number: int) -> Iterator[asyncio.Future[None]]:
        """Yield a future that completes when a job or batch has ended.

        Callers call this before they read the state of the job or batch, so that they do not miss
        an end in between.
        """
        waiters = self._futures.setdefault((kind, number), set())
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.add(future)
        try:
            yield future
        finally:
            waiters.discard(future)
            if not waiters:
                self._futures.pop((kind, number), None)

    def wake_ended(self, job_ids: Sequence[int], *, has_held: bool) -> None:
        """Complete the futures of ended jobs; if jobs were held, all those that wait for a hold."""
        if not self._futures:
            return
        for job_id in job_ids:
            self.wake("job", job_id)
            self.wake("job or hold", job_id)
        if has_held:
            for kind, number in self._futures:
                if kind != "job":
                    self.wake(kind, number)

    def wake(self, kind: str, number: int) -> None:
        for future in self._futures.get((kind, number), ()):
            if not future.done():
                future.set_result(None)


async def wait_first(
    ended: asyncio.Future[None], disconnected: asyncio.Future[None] | None, wait_s: float
) -> None:
    """Wait until one of the futures completes, at most `wait_s` seconds."""
    futures = [ended] if disconnected is None else [ended, disconnected]
    await asyncio.wait(futures, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
