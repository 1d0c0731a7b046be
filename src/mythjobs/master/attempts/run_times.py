"""Start and end times of attempts, converted from a machine's clock to the master's."""

from __future__ import annotations

from mythjobs.model.units import is_clock_skewed


def correct_times(
    leased_ms: int, started_ms: int | None, ended_ms: int, *, skew_ms: int, now_ms: int
) -> tuple[int | None, int]:
    """Return the start and end that a machine reported, corrected by the machine's clock skew.

    skew_ms: the machine's wall clock minus the master's.
    The results are clamped to lease ≤ start ≤ end ≤ now, because the machine's clock may have
    been set during the attempt.
    """
    if not is_clock_skewed(skew_ms):
        skew_ms = 0
    first_ms = min(leased_ms, now_ms)
    if started_ms is not None:
        started_ms = first_ms = min(max(started_ms - skew_ms, first_ms), now_ms)
    return started_ms, min(max(ended_ms - skew_ms, first_ms), now_ms)


def correct_start(leased_ms: int, started_ms: int, *, skew_ms: int, now_ms: int) -> int:
    """Return the start of a running attempt, corrected like the times in correct_times()."""
    return correct_times(leased_ms, None, started_ms, skew_ms=skew_ms, now_ms=now_ms)[1]
