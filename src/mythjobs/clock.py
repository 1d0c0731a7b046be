"""Clocks of master and machines. Code that makes decisions takes `now` as an argument, so that
tests can set it; other code reads a clock only to measure durations."""

from __future__ import annotations

import time
from typing import NamedTuple


class Now(NamedTuple):
    """One instant on three clocks, in milliseconds.

    wall_ms: UTC since 1970; for calendars, start times that users set, and display only.
    steady_ms: for leases and timers. CLOCK_BOOTTIME on a machine, so that leases expire during
        suspend; CLOCK_MONOTONIC in the master, so that its own suspend expires no lease.
    run_ms: CLOCK_MONOTONIC; for a job's wall and idle limits, which exclude suspend.
    boot_ms: CLOCK_BOOTTIME in the master: compared with run_ms it tells that the machine was
        suspended, and compared with wall_ms that its clock was set.
    """

    wall_ms: int
    steady_ms: int
    run_ms: int
    boot_ms: int = 0


def master_now() -> Now:
    run_ms = time.monotonic_ns() // 1_000_000
    boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Now(time.time_ns() // 1_000_000, run_ms, run_ms, boot_ms)


def machine_now() -> Now:
    return Now(
        time.time_ns() // 1_000_000,
        time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        time.monotonic_ns() // 1_000_000,
    )
