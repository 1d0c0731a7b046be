"""Metrics service: answers scrapes in threads, so that they slow no turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from mythjobs.clock import Now, master_now
from mythjobs.master.metrics.counters import MetricsCounters
from mythjobs.master.metrics.observation import Observation
from mythjobs.master.state import MasterState
from mythjobs.store.queries.metrics import read_store_figures
from mythjobs.store.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

# An answer is repeated to scrapes within this time.
_CACHED_MS: Final = 1000


class MetricsStore(Protocol):
    """Interface of the master that the metrics service needs."""

    started_ms: int

    @property
    def state(self) -> MasterState: ...

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


class MetricsService:
    """Counts what turns observe, from the first scrape on: before it, turns observe nothing.

    enable: called at each scrape. Runs in the master's event loop.
    """

    def __init__(
        self,
        store: MetricsStore,
        enable: Callable[[], None],
        clock: Callable[[], Now] = master_now,
    ) -> None:
        self._store = store
        self._enable = enable
        self._clock = clock
        self._counters = MetricsCounters()
        self._reading = asyncio.Lock()
        self._answer = b""
        self._answered_ms: int | None = None

    def add(self, observations: list[Observation]) -> None:
        """Count the observations of a committed turn."""
        self._counters.add(observations)

    async def read(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        self._enable()
        async with self._reading:
            now = self._clock()
            if self._answered_ms is None or now.steady_ms - self._answered_ms >= _CACHED_MS:
                figures = await self._store.read(read_store_figures)
                # Loaded here, because only masters whose metrics are read need the library.
                from mythjobs.master.metrics.exposition import write_metrics

                state, counters = self._store.state, self._counters.copy()
                self._answer = await asyncio.to_thread(
                    lambda: write_metrics(
                        state, figures, counters, started_ms=self._store.started_ms, now=now
                    )
                )
                self._answered_ms = now.steady_ms
            return self._answer
