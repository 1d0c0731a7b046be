"""Which limit a tree has broken, from one look at what it uses to the next. Decides only."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from mythjobs.model.limits import Limits

# Fewer seconds of CPU, and less than this part of the time, is no sign of life: a program
# that waits for ever may look at a clock now and then.
_NOISE_S: Final = 0.02
_NOISE_PART: Final = 0.01
_CORES: Final = os.cpu_count() or 1
_SOONEST_MS: Final = 50
_LATEST_MS: Final = 5000
# Memory and processes, where nothing but looking enforces them.
_SAMPLED_MS: Final = 100


class Seen(NamedTuple):
    """One look: what its tree has used and moved so far, and what it is now."""

    cpu_s: float
    moved_bytes: int
    written_bytes: int
    memory_bytes: int
    processes: int


class Watchman:
    """`sampled` are the limits that are enforced by looking alone."""

    def __init__(self, limits: Limits, sampled: frozenset[str], now_ms: int) -> None:
        self.limits = limits
        self.sampled = sampled
        self._active_ms = now_ms
        self._before: Seen | None = None

    def follow(self, other: Watchman) -> None:
        """Instead of one with other limits: when there was a sign of life does not change."""
        self._active_ms = other._active_ms
        self._before = other._before

    def frozen_for(self, duration_ms: int) -> None:
        """It stood still for so long, and was not idle."""
        self._active_ms += duration_ms

    def look(self, seen: Seen, now_ms: int) -> str | None:
        """The limit that is broken. If several are, the one that says most of the cause: a tree
        that does nothing, or too much, before one that is merely slow."""
        limits = self.limits
        self._note_activity(seen, now_ms)
        if limits.idle_s is not None and now_ms - self._active_ms >= limits.idle_s * 1000:
            return "idle"
        if limits.cpu_s is not None and seen.cpu_s >= limits.cpu_s:
            return "cpu"
        if "memory" in self.sampled and seen.memory_bytes > (limits.memory_bytes or 0):
            return "memory"
        if "processes" in self.sampled and seen.processes > (limits.processes or 0):
            return "processes"
        return None

    def _note_activity(self, seen: Seen, now_ms: int) -> None:
        before = self._before
        if before is None:
            self._before = seen
            return
        noise_s = max(_NOISE_S, (now_ms - self._active_ms) / 1000 * _NOISE_PART)
        moved = (seen.moved_bytes, seen.written_bytes) != (before.moved_bytes, before.written_bytes)
        if moved or seen.cpu_s - before.cpu_s > noise_s:
            self._before = seen
            self._active_ms = now_ms

    def next_ms(self, seen: Seen, now_ms: int) -> int:
        """When to look again: never so late that a limit could be broken long before."""
        waits = [float(_LATEST_MS)]
        limits = self.limits
        if self.sampled:
            waits.append(_SAMPLED_MS)
        if limits.cpu_s is not None:
            # All cores at once cannot use it up sooner.
            waits.append((limits.cpu_s - seen.cpu_s) * 1000 / _CORES)
        if limits.idle_s is not None:
            left_ms = self._active_ms + limits.idle_s * 1000 - now_ms
            # A few looks within the time, so that one burst in it is seen.
            waits.append(min(left_ms, limits.idle_s * 250))
        return now_ms + max(_SOONEST_MS, round(min(waits)))
