"""Simulated time: a number, a heap of what happens when, and clocks that run at rates of their own.

Everything is an `int` of true milliseconds since the simulation began, unless its name says which
clock it is of.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any, Final

from mythjobs.clock import Now

# Tuesday 2026-11-24, 12:00 UTC.
NOON_MS: Final = 1_795_521_600_000
# Whoever does so much at one instant does it for ever.
_MOST_AT_ONCE: Final = 10_000
# So often it is looked at whether all is over.
_LOOKS_MS: Final = 1000


class Event:
    """Something that will be done; `cancel` it and it will not."""

    __slots__ = ("args", "do")

    def __init__(self, do: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.do: Callable[..., object] | None = do
        self.args = args

    def cancel(self) -> None:
        self.do = None


class World:
    """`random` is for what is too small to be recorded: jitter, how long a write takes."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.now = 0
        self.random = Random(seed)
        self.violations: list[str] = []
        # What the simulation itself did, for whoever looks at what it covers.
        self.counts: dict[str, int] = {}
        self._trace = trace
        self._seq = self._at_once = 0
        self._heap: list[tuple[int, int, Event]] = []

    def at(self, at_ms: int, do: Callable[..., object], *args: Any) -> Event:
        self._seq += 1
        event = Event(do, args)
        heapq.heappush(self._heap, (max(at_ms, self.now), self._seq, event))
        return event

    def after(self, delay_ms: int, do: Callable[..., object], *args: Any) -> Event:
        return self.at(self.now + delay_ms, do, *args)

    def run(self, until_ms: int, over: Callable[[], bool]) -> None:
        """What is due up to `until_ms`, unless it is `over`, or a promise was broken, before."""
        heap, look_ms = self._heap, self.now
        while heap and not self.violations:
            if self.now >= look_ms:
                if over():
                    break
                look_ms = self.now + _LOOKS_MS
            at_ms, seq, event = heapq.heappop(heap)
            if at_ms > until_ms:
                heapq.heappush(heap, (at_ms, seq, event))
                break
            if event.do is None:
                continue
            self._at_once = self._at_once + 1 if at_ms == self.now else 0
            if self._at_once > _MOST_AT_ONCE:
                self.broken("SPIN", f"time stands still at {event.do}")
            self.now = at_ms
            event.do(*event.args)

    def say(self, who: str, what: str) -> None:
        if self._trace:
            print(f"{self.now / 1000:10.3f}  {who:9} {what}")

    @property
    def tracing(self) -> bool:
        return self._trace

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def broken(self, promise: str, what: str) -> None:
        """A violation: the name of the promise, and what was seen instead."""
        said = f"{promise}: {what} (at {self.now / 1000:.3f} s)"
        self.violations.append(said)
        self.say("WITNESS", said)


class Clock:
    """Of one machine from one boot on. `rate` is thousandths: 1100 runs 10 % fast."""

    def __init__(self, world: World, rate: int, steady_ms: int) -> None:
        self._world = world
        self._rate = rate
        self._began = world.now
        self._steady0_ms = steady_ms
        self._wall0_ms = NOON_MS + world.now - steady_ms

    def steady(self) -> int:
        return self._steady0_ms + (self._world.now - self._began) * self._rate // 1000

    def now(self) -> Now:
        # As steady() has it, which this calls too often.
        steady_ms = self._steady0_ms + (self._world.now - self._began) * self._rate // 1000
        return Now(steady_ms + self._wall0_ms, steady_ms, steady_ms)

    def wall(self) -> int:
        return self.steady() + self._wall0_ms

    def jump(self, ms: int) -> None:
        """Somebody sets the clock on the wall."""
        self._wall0_ms += ms

    def when(self, steady_ms: int) -> int:
        """The first true instant at which the steady clock shows this, or more."""
        return self._began - ((self._steady0_ms - steady_ms) * 1000 // self._rate)

    def when_wall(self, wall_ms: int) -> int:
        return self.when(wall_ms - self._wall0_ms)

    def true(self, ms: int) -> int:
        """How long these milliseconds of its own are, rounded up."""
        return -(-ms * 1000 // self._rate)
