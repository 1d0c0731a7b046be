"""The arithmetic of leases, for both sides: all constants, and nothing that reads a clock.

Machines count on CLOCK_BOOTTIME from the instant they *sent* a heartbeat, the master on
CLOCK_MONOTONIC from the instant it *arrived*. Arrival is never before the send, and the master
waits longer than clocks that differ by RHO can make up for, so it is always the later of the two.
"""

from __future__ import annotations

from typing import Final

# L, K, rho and delta of the proof, in seconds where they are times; H is messages.HEARTBEAT_S.
L_S: Final = 1800.0
K_S: Final = 30.0
# chrony may slew a clock by 8.3 %, so 1 % would not be safe.
RHO: Final = 0.10
DELTA_S: Final = 5.0
# At least (1 + RHO) / (1 - RHO) = 1.222.
STRETCH: Final = 1.25

MOST_START_BY_S: Final = 900.0
# An idempotent command is begun again so soon after its machine fell silent.
IDEMPOTENT_S: Final = 60.0
IDEMPOTENT_START_BY_S: Final = 30.0

RERUN: Final = "rerun"
HOLD: Final = "hold"
KEEP: Final = "keep"
IDEMPOTENT: Final = "idempotent"


def start_by_s(silence: str, lease_s: float | None) -> float:
    """How long after the send of its heartbeat an attempt may still be started."""
    if silence == IDEMPOTENT:
        return IDEMPOTENT_START_BY_S
    return MOST_START_BY_S if lease_s is None else min(lease_s / 2, MOST_START_BY_S)


def start_by_ms(sent_ms: int, by_s: float) -> int:
    """From this instant on, on the machine's steady clock, it must not be started any more."""
    return sent_ms + int(by_s * 1000)


def lease_end_ms(sent_ms: int, lease_s: float) -> int:
    """Nothing of the attempt may live at this instant of the machine's steady clock."""
    return sent_ms + int(lease_s * 1000)


def kill_budget_s(lease_s: float) -> float:
    """What TERM, grace and KILL may take before the lease's end; a short lease gives less."""
    return min(K_S, lease_s / 4)


def kill_ms(end_ms: int, lease_s: float) -> int:
    """When, on the machine's steady clock, its end must begin."""
    return end_ms - int(kill_budget_s(lease_s) * 1000)


def kill_grace_s(lease_s: float) -> float:
    """How long it has after TERM: two thirds of the budget, the rest is for the KILL."""
    return kill_budget_s(lease_s) * 2 / 3


def presumed_after_ms(silence: str, lease_s: float | None) -> int | None:
    """How long after the arrival of the last heartbeat that held it an attempt is presumed over.

    None: never, its machine must be heard of.
    """
    if silence == IDEMPOTENT:
        return int(IDEMPOTENT_S * 1000)
    return None if lease_s is None else int((lease_s * STRETCH + DELTA_S) * 1000)


def is_presumed_over(arrived_ms: int, silence: str, lease_s: float | None, now_ms: int) -> bool:
    """On the master's steady clock. `arrived_ms` is its note of that heartbeat's arrival."""
    after_ms = presumed_after_ms(silence, lease_s)
    return after_ms is not None and now_ms > arrived_ms + after_ms
