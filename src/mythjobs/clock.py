"""What time it is. Whatever decides takes `now` as an argument; others only measure how long."""

from __future__ import annotations

import time
from typing import NamedTuple


class Now(NamedTuple):
    """One instant on three clocks, all in milliseconds.

    wall_ms: UTC since 1970; for calendars, `not_before` and display only.
    steady_ms: for leases and timers. CLOCK_BOOTTIME on a machine (counts suspend),
        CLOCK_MONOTONIC at the master (its own suspend costs time, not work).
    run_ms: CLOCK_MONOTONIC; for the wall and idle limits of a job, which a suspended
        machine must not use up.
    """

    wall_ms: int
    steady_ms: int
    run_ms: int


def master_now() -> Now:
    run_ms = time.monotonic_ns() // 1_000_000
    return Now(time.time_ns() // 1_000_000, run_ms, run_ms)


def machine_now() -> Now:
    return Now(
        time.time_ns() // 1_000_000,
        time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        time.monotonic_ns() // 1_000_000,
    )
