"""Limit check: detects breaches of limits in successive samples of a process tree. Has no side
effects."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from mythjobs.model.limits import Limits

# A tree counts as idle while its CPU time since the last activity is below _NOISE_CPU_S or below
# _NOISE_CPU_SHARE of one core: a program that waits may wake up now and then.
_NOISE_CPU_S: Final = 0.02
_NOISE_CPU_SHARE: Final = 0.01
_CORES: Final = os.cpu_count() or 1
_MIN_INTERVAL_MS: Final = 50
_MAX_INTERVAL_MS: Final = 5000
# Interval of checks of memory and processes if no cgroup enforces these limits.
_SAMPLED_INTERVAL_MS: Final = 100


class TreeSample(NamedTuple):
    """Figures of a process tree: CPU time, I/O and output since its start; current memory and
    number of processes."""

    cpu_s: float
    transferred_bytes: int
    output_bytes: int
    memory_bytes: int
    processes: int


class LimitCheck:
    """Checks the limits of one child. `sampled` are the names of limits that nothing but these
    checks enforces."""

    def __init__(self, limits: Limits, sampled: frozenset[str], now_ms: int) -> None:
        self.limits = limits
        self.sampled = sampled
        self._active_ms = now_ms
        self._active_sample: TreeSample | None = None

    def continue_from(self, previous: LimitCheck) -> None:
        """Take over the time of the last activity from the check that this one replaces after a
        change of limits."""
        self._active_ms = previous._active_ms
        self._active_sample = previous._active_sample

    def exclude_frozen(self, frozen_ms: int) -> None:
        """Exclude a freeze of this duration from the idle time."""
        self._active_ms += frozen_ms

    def find_breach(self, sample: TreeSample, now_ms: int) -> str | None:
        """Return the name of a breached limit, or None. If several are breached, return the first
        in the order idle, cpu, memory, processes."""
        limits = self.limits
        self._record_activity(sample, now_ms)
        if limits.idle_s is not None and now_ms - self._active_ms >= limits.idle_s * 1000:
            return "idle"
        if limits.cpu_s is not None and sample.cpu_s >= limits.cpu_s:
            return "cpu"
        if "memory" in self.sampled and sample.memory_bytes > (limits.memory_bytes or 0):
            return "memory"
        if "processes" in self.sampled and sample.processes > (limits.processes or 0):
            return "processes"
        return None

    def _record_activity(self, sample: TreeSample, now_ms: int) -> None:
        before = self._active_sample
        if before is None:
            self._active_sample = sample
            return
        noise_s = max(_NOISE_CPU_S, (now_ms - self._active_ms) / 1000 * _NOISE_CPU_SHARE)
        has_moved = (sample.transferred_bytes, sample.output_bytes) != (
            before.transferred_bytes,
            before.output_bytes,
        )
        if has_moved or sample.cpu_s - before.cpu_s > noise_s:
            self._active_sample = sample
            self._active_ms = now_ms

    def next_check_ms(self, sample: TreeSample, now_ms: int) -> int:
        """Return the time of the next check, chosen so that no limit is exceeded by much before."""
        waits = [float(_MAX_INTERVAL_MS)]
        limits = self.limits
        if self.sampled:
            waits.append(_SAMPLED_INTERVAL_MS)
        if limits.cpu_s is not None:
            # Wait as long as the tree, with all cores busy, takes to reach the limit.
            waits.append((limits.cpu_s - sample.cpu_s) * 1000 / _CORES)
        if limits.idle_s is not None:
            left_ms = self._active_ms + limits.idle_s * 1000 - now_ms
            # Check four times per idle period, so that a single burst of activity is noticed.
            waits.append(min(left_ms, limits.idle_s * 250))
        return now_ms + max(_MIN_INTERVAL_MS, round(min(waits)))
