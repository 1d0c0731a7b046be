"""Counters and histograms of the master since its first scrape. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from mythjobs.master.metrics.observation import AttemptResult, JobWait, Observation, TurnCost

WAIT_BOUNDS_S: Final = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400)
RUN_BOUNDS_S: Final = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400)
TURN_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
STATEMENT_BOUNDS: Final = (5, 10, 20, 40, 80, 160, 320)


class Histogram:
    """Numbers of values by bucket; a bucket has the values up to its bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        copy = Histogram(self.bounds)
        copy.counts, copy.total = self.counts.copy(), self.total
        return copy

    def list_buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of values up to it), as Prometheus expects it."""
        names = [f"{each:g}" for each in self.bounds] + ["+Inf"]
        found, so_far = [], 0
        for name, count in zip(names, self.counts, strict=True):
            so_far += count
            found.append((name, float(so_far)))
        return found


class MetricsCounters:
    """All that the master counts for metrics. Ids are command ids."""

    def __init__(self) -> None:
        self.waits: dict[int, Histogram] = {}
        self.runs: dict[int, Histogram] = {}
        self.results: Counter[tuple[int, str, str]] = Counter()  # by command, outcome and result
        self.turns = Histogram(TURN_BOUNDS_S)
        self.statements = Histogram(STATEMENT_BOUNDS)

    def copy(self) -> MetricsCounters:
        copy = MetricsCounters()
        copy.waits = {key: each.copy() for key, each in self.waits.items()}
        copy.runs = {key: each.copy() for key, each in self.runs.items()}
        copy.results = self.results.copy()
        copy.turns, copy.statements = self.turns.copy(), self.statements.copy()
        return copy

    def add(self, observations: Iterable[Observation]) -> None:
        for each in observations:
            match each:
                case JobWait(command_id, wait_s):
                    self.waits.setdefault(command_id, Histogram(WAIT_BOUNDS_S)).add(wait_s)
                case AttemptResult(command_id, outcome, result, run_s):
                    self.results[command_id, outcome, result] += 1
                    if run_s is not None:
                        self.runs.setdefault(command_id, Histogram(RUN_BOUNDS_S)).add(run_s)
                case TurnCost(duration_s, statements):
                    self.turns.add(duration_s)
                    self.statements.add(statements)
