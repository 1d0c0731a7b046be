"""Lease arithmetic of master and agent. Pure.

A machine counts a lease on CLOCK_BOOTTIME from the instant it *sent* a heartbeat; the master counts
on CLOCK_MONOTONIC from the instant the heartbeat *arrived*, which is never earlier. The master also
waits long enough to compensate for clocks that drift by MAX_CLOCK_DRIFT. So the lease always
expires on the machine before the master declares it expired.
"""

from __future__ import annotations

from typing import Final

from mythjobs.model.silence import IDEMPOTENT

DEFAULT_LEASE_S: Final = 1800.0
MAX_KILL_BUDGET_S: Final = 30.0
# chrony may slew a clock by 8.3 %, so 1 % would not be safe.
MAX_CLOCK_DRIFT: Final = 0.10
EXPIRY_MARGIN_S: Final = 5.0
# At least (1 + MAX_CLOCK_DRIFT) / (1 - MAX_CLOCK_DRIFT) = 1.222.
EXPIRY_FACTOR: Final = 1.25

MAX_START_BY_S: Final = 900.0
# Jobs with policy "idempotent" start again this long after their machine became silent.
IDEMPOTENT_EXPIRY_S: Final = 60.0
IDEMPOTENT_START_BY_S: Final = 30.0


def start_window_s(silence: str, lease_s: float | None) -> float:
    """Return how long after the heartbeat of its grant was sent an attempt may be started."""
    if silence == IDEMPOTENT:
        return IDEMPOTENT_START_BY_S
    return MAX_START_BY_S if lease_s is None else min(lease_s / 2, MAX_START_BY_S)


def start_deadline_ms(sent_ms: int, window_s: float) -> int:
    """Return the instant, on the machine's steady clock, from which the start is forbidden."""
    return sent_ms + int(window_s * 1000)


def lease_end_ms(sent_ms: int, lease_s: float) -> int:
    """Return when, on the machine's steady clock, all the attempt's processes must be gone."""
    return sent_ms + int(lease_s * 1000)


def kill_budget_s(lease_s: float) -> float:
    """Return the time for TERM, grace period and KILL before the lease ends."""
    return min(MAX_KILL_BUDGET_S, lease_s / 4)


def kill_start_ms(end_ms: int, lease_s: float) -> int:
    """Return when, on the machine's steady clock, TERM must be sent."""
    return end_ms - int(kill_budget_s(lease_s) * 1000)


def kill_grace_s(lease_s: float) -> float:
    """Return the grace period: two thirds of the kill budget; the rest is for KILL."""
    return kill_budget_s(lease_s) * 2 / 3


def expiry_after_ms(silence: str, lease_s: float | None) -> int | None:
    """Return how long after the last heartbeat that listed an attempt its lease expires.

    None: never; the attempt lasts until its machine reports again. Counts from the arrival.
    """
    if silence == IDEMPOTENT:
        return int(IDEMPOTENT_EXPIRY_S * 1000)
    return None if lease_s is None else int((lease_s * EXPIRY_FACTOR + EXPIRY_MARGIN_S) * 1000)


def has_expired(arrived_ms: int, silence: str, lease_s: float | None, now_ms: int) -> bool:
    """Return whether the lease has expired; `arrived_ms` is when the last heartbeat arrived.

    Both instants are on the master's steady clock.
    """
    after_ms = expiry_after_ms(silence, lease_s)
    return after_ms is not None and now_ms > arrived_ms + after_ms
