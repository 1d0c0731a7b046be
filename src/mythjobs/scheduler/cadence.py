"""Cadence of a schedule: how often it asks for a run, how often it runs, and why less often."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

from mythjobs.model.tick import WITH_JOB, TickOutcome
from mythjobs.model.units import humanize_duration

_RUNS: Final = 10
# A schedule drifts if it runs less often than this share of its ticks.
_DRIFTING_SHARE: Final = 2 / 3
_MIN_RUNS: Final = 3


class PastTick(NamedTuple):
    """What became of one tick, or of `ticks` consecutive ticks without a job."""

    tick_ms: int
    last_ms: int
    ticks: int
    outcome: TickOutcome
    started_ms: int | None = None
    ended_ms: int | None = None


class Cadence(NamedTuple):
    """Mean intervals between ticks and between runs; median time from tick to start and from start
    to end."""

    asked_s: float
    effective_s: float
    wait_s: float
    run_s: float
    is_drifting: bool

    def describe(self) -> str:
        """Return a sentence like `every 10 min, runs every 30 min: waits 2 min, runs 28 min`."""
        asked = humanize_duration(self.asked_s)
        if not self.is_drifting:
            return f"every {asked}"
        wait, run = humanize_duration(self.wait_s), humanize_duration(self.run_s)
        effective = humanize_duration(self.effective_s)
        return f"every {asked}, but runs every {effective}: waits {wait}, runs {run}"


def measure_cadence(past: Sequence[PastTick]) -> Cadence | None:
    """Return the cadence over the last ten runs; None if fewer than two ticks are known.

    past: the newest tick first. Ticks that were missed, paused or refused do not count as asked:
    they have causes of their own.
    """
    considered: list[PastTick] = []
    runs: list[PastTick] = []
    for each in past:
        considered.append(each)
        if each.started_ms is not None:
            runs.append(each)
            if len(runs) == _RUNS:
                break
    total = sum(each.ticks for each in considered)
    if total < 2:
        return None
    span_s = (considered[0].last_ms - considered[-1].tick_ms) / 1000
    asked_s = span_s / (total - 1)
    counted = sum(
        each.ticks
        for each in considered
        if each.outcome in WITH_JOB or each.outcome is TickOutcome.OVERLAPPED
    )
    waits = [max(0, each.started_ms - each.tick_ms) for each in runs if each.started_ms is not None]
    spans = [
        max(0, each.ended_ms - each.started_ms)
        for each in runs
        if each.started_ms is not None and each.ended_ms is not None
    ]
    has_runs = len(runs) >= _MIN_RUNS
    return Cadence(
        asked_s,
        asked_s * max(1.0, counted / len(runs)) if runs else asked_s,
        median(waits) / 1000 if waits else 0.0,
        median(spans) / 1000 if spans else 0.0,
        has_runs and len(runs) < _DRIFTING_SHARE * counted,
    )
