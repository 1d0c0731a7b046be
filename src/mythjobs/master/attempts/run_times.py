"""Start and end of an attempt by the master's clock. Pure."""

from __future__ import annotations

from mythjobs.model.units import is_clock_skewed


def correct_times(
    leased_ms: int, started_ms: int | None, ended_ms: int, *, skew_ms: int, now_ms: int
) -> tuple[int | None, int]:
    """Return start and end as a machine reported them, corrected by its clock skew.

    skew_ms: the machine's wall clock minus the master's. Both lie between the lease and now, the
    start before the end, whatever the machine says: its clock may have been set meanwhile.
    """
    if not is_clock_skewed(skew_ms):
        skew_ms = 0
    first_ms = min(leased_ms, now_ms)
    if started_ms is not None:
        started_ms = first_ms = min(max(started_ms - skew_ms, first_ms), now_ms)
    return started_ms, min(max(ended_ms - skew_ms, first_ms), now_ms)


def correct_start(leased_ms: int, started_ms: int, *, skew_ms: int, now_ms: int) -> int:
    """Return the start of a running attempt, corrected in the same way."""
    return correct_times(leased_ms, None, started_ms, skew_ms=skew_ms, now_ms=now_ms)[1]
