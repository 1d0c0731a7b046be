"""Lease arithmetic of master and agent: pure functions.

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
# Assumed largest deviation of a clock's rate. chrony may slew a clock by 8.3 %, so 1 % would not
# be safe.
MAX_CLOCK_DRIFT: Final = 0.10
EXPIRY_MARGIN_S: Final = 5.0
# The master waits this factor longer than the lease. It must be at least
# (1 + MAX_CLOCK_DRIFT) / (1 - MAX_CLOCK_DRIFT) = 1.222.
EXPIRY_FACTOR: Final = 1.25

MAX_START_BY_S: Final = 900.0
# A job with silence policy "idempotent" is run again this long after the last heartbeat of its
# machine arrived.
IDEMPOTENT_EXPIRY_S: Final = 60.0
IDEMPOTENT_START_BY_S: Final = 30.0


def start_window_s(silence: str, lease_s: float | None) -> float:
    """Return the time in which an attempt may be started. It counts from when the agent sent the
    heartbeat that the attempt's grant answers."""
    if silence == IDEMPOTENT:
        return IDEMPOTENT_START_BY_S
    return MAX_START_BY_S if lease_s is None else min(lease_s / 2, MAX_START_BY_S)


def start_deadline_ms(sent_ms: int, window_s: float) -> int:
    """Return the instant, on the machine's steady clock, from which an attempt must not start."""
    return sent_ms + int(window_s * 1000)


def lease_end_ms(sent_ms: int, lease_s: float) -> int:
    """Return when a lease ends on the machine's steady clock: by then all processes of the attempt
    must be gone."""
    return sent_ms + int(lease_s * 1000)


def kill_budget_s(lease_s: float) -> float:
    """Return the time reserved at the end of a lease for SIGTERM, grace period and SIGKILL."""
    return min(MAX_KILL_BUDGET_S, lease_s / 4)


def kill_start_ms(end_ms: int, lease_s: float) -> int:
    """Return when an expiring attempt must get SIGTERM, on the machine's steady clock."""
    return end_ms - int(kill_budget_s(lease_s) * 1000)


def kill_grace_s(lease_s: float) -> float:
    """Return the time from SIGTERM to SIGKILL at lease expiry: two thirds of the kill budget."""
    return kill_budget_s(lease_s) * 2 / 3


def expiry_after_ms(silence: str, lease_s: float | None) -> int | None:
    """Return after what time without heartbeats the master declares an attempt's lease expired.

    Counts from the arrival of the last heartbeat that listed the attempt. None: never; the master
    waits until the machine reports again.
    """
    if silence == IDEMPOTENT:
        return int(IDEMPOTENT_EXPIRY_S * 1000)
    return None if lease_s is None else int((lease_s * EXPIRY_FACTOR + EXPIRY_MARGIN_S) * 1000)


def has_expired(arrived_ms: int, silence: str, lease_s: float | None, now_ms: int) -> bool:
    """Return whether the master must declare a lease expired.

    arrived_ms: arrival of the last heartbeat that listed the attempt; both instants are on the
    master's steady clock.
    """
    after_ms = expiry_after_ms(silence, lease_s)
    return after_ms is not None and now_ms > arrived_ms + after_ms
