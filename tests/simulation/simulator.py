"""Discrete-event simulator: simulated time, an event heap, and clocks that run at their own rates.

Times are `int` milliseconds since the start of the simulation ("simulated time"), unless the name
says which clock they belong to.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any, Final

from mythjobs.clock import Now

# Tuesday 2026-11-24, 12:00 UTC.
NOON_MS: Final = 1_795_521_600_000
# More calls than this at one instant are reported as an endless loop.
_MAX_CALLS_AT_ONE_TIME: Final = 10_000
# Interval between checks of the stop condition of `run`.
_STOP_CHECK_MS: Final = 1000


class ScheduledCall:
    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        self.function = None


class Simulator:
    """`random` draws what plans do not record: jitter and durations of writes.

    start_ms: what a correct wall clock shows at simulated time 0.
    """

    def __init__(self, seed: int, *, trace: bool = False, start_ms: int = NOON_MS) -> None:
        self.now_ms = 0
        self.start_ms = start_ms
        self.random = Random(seed)
        self.violations: list[str] = []
        # Occurrences of events of the simulation itself; they show what a run covered.
        self.counts: dict[str, int] = {}
        self.is_tracing = trace
        self._sequence_no = self._calls_at_one_time = 0
        self._heap: list[tuple[int, int, ScheduledCall]] = []

    def call_at(self, at_ms: int, function: Callable[..., object], *args: Any) -> ScheduledCall:
        self._sequence_no += 1
        call = ScheduledCall(function, args)
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), self._sequence_no, call))
        return call

    def call_later(
        self, delay_ms: int, function: Callable[..., object], *args: Any
    ) -> ScheduledCall:
        return self.call_at(self.now_ms + delay_ms, function, *args)

    def run(self, until_ms: int, is_done: Callable[[], bool]) -> None:
        """Execute calls due up to `until_ms`; stop early when `is_done` or after a violation."""
        heap, stop_check_ms = self._heap, self.now_ms
        while heap and not self.violations:
            if self.now_ms >= stop_check_ms:
                if is_done():
                    break
                stop_check_ms = self.now_ms + _STOP_CHECK_MS
            at_ms, sequence_no, call = heapq.heappop(heap)
            if at_ms > until_ms:
                heapq.heappush(heap, (at_ms, sequence_no, call))
                break
            if call.function is None:
                continue
            self._calls_at_one_time = self._calls_at_one_time + 1 if at_ms == self.now_ms else 0
            if self._calls_at_one_time > _MAX_CALLS_AT_ONE_TIME:
                self.report_violation("SPIN", f"endless loop without time passing: {call.function}")
            self.now_ms = at_ms
            call.function(*call.args)

    def trace(self, source: str, text: str) -> None:
        if self.is_tracing:
            print(f"{self.now_ms / 1000:10.3f}  {source:9} {text}")

    def count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1

    def report_violation(self, property_name: str, observation: str) -> None:
        text = f"{property_name}: {observation} (at {self.now_ms / 1000:.3f} s)"
        self.violations.append(text)
        self.trace("VIOLATION", text)


class SimClock:
    """The clocks of one machine since one boot. `rate` is in thousandths: 1100 runs 10 % fast."""

    def __init__(self, sim: Simulator, rate: int, initial_steady_ms: int) -> None:
        self._sim = sim
        self._rate = rate
        self._start_ms = sim.now_ms
        self._initial_steady_ms = initial_steady_ms
        self._wall_offset_ms = sim.start_ms + sim.now_ms - initial_steady_ms

    def steady_ms(self) -> int:
        elapsed_ms = self._sim.now_ms - self._start_ms
        return self._initial_steady_ms + elapsed_ms * self._rate // 1000

    def now(self) -> Now:
        # steady_ms() inlined: this is the most frequent call of a run.
        elapsed_ms = self._sim.now_ms - self._start_ms
        steady_ms = self._initial_steady_ms + elapsed_ms * self._rate // 1000
        return Now(steady_ms + self._wall_offset_ms, steady_ms, steady_ms)

    def wall_ms(self) -> int:
        return self.steady_ms() + self._wall_offset_ms

    def step_wall(self, ms: int) -> None:
        self._wall_offset_ms += ms

    def time_of_steady(self, steady_ms: int) -> int:
        """Return the first simulated time at which the steady clock shows at least `steady_ms`."""
        return self._start_ms - ((self._initial_steady_ms - steady_ms) * 1000 // self._rate)

    def time_of_wall(self, wall_ms: int) -> int:
        return self.time_of_steady(wall_ms - self._wall_offset_ms)

    def to_own_ms(self, simulated_ms: int) -> int:
        """Convert a duration of simulated time to one on this clock."""
        return simulated_ms * self._rate // 1000

    def to_simulated_ms(self, duration_ms: int) -> int:
        """Convert a duration on this clock to simulated time, rounded up."""
        return -(-duration_ms * 1000 // self._rate)
