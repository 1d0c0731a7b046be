"""Attempts that the reaper starts by itself, one whenever another attempt ends."""

from __future__ import annotations

from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper.attempt import ReaperAttempt


class NextAttempts:
    """Attempts in the order of their start, each with the CLOCK_BOOTTIME ms from which it must not
    start any more."""

    def __init__(self) -> None:
        self._attempts: dict[AttemptKey, tuple[ReaperAttempt, int]] = {}

    def add(self, attempt: ReaperAttempt, start_by_ms: int) -> None:
        self._attempts[attempt.key] = (attempt, start_by_ms)

    def remove(self, key: AttemptKey) -> None:
        self._attempts.pop(key, None)

    def clear(self) -> list[AttemptKey]:
        """Remove all, and return them."""
        keys = list(self._attempts)
        self._attempts.clear()
        return keys

    def take_first(self, now_ms: int) -> tuple[ReaperAttempt | None, list[AttemptKey]]:
        """Remove and return the first attempt that may still start, None if there is none, and
        those before it that may not."""
        late: list[AttemptKey] = []
        while self._attempts:
            key = next(iter(self._attempts))
            attempt, start_by_ms = self._attempts.pop(key)
            if now_ms < start_by_ms:
                return attempt, late
            late.append(key)
        return None, late
