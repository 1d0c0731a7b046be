"""Lease arithmetic: the machine's lease ends before the master declares it expired."""

from __future__ import annotations

import itertools

import pytest

from mythjobs.model.silence import IDEMPOTENT, KEEP, RERUN
from mythjobs.protocol import lease_timing

LEASES = (60.0, 300.0, lease_timing.DEFAULT_LEASE_S, 6 * 3600.0)


@pytest.mark.parametrize("lease_s", LEASES)
def test_lease_expires_later_at_the_master_for_all_clock_drifts(lease_s: float) -> None:
    # In true time; a heartbeat without delay is the worst case.
    for machine, master in itertools.product((0.9, 1.0, 1.1), repeat=2):
        ended_s = lease_s / machine
        after_ms = lease_timing.expiry_after_ms(RERUN, lease_s)
        assert after_ms is not None
        expired_s = after_ms / 1000 / master
        assert expired_s > ended_s


@pytest.mark.parametrize("lease_s", LEASES)
def test_an_attempt_started_at_the_deadline_ends_within_its_lease(lease_s: float) -> None:
    start_ms = lease_timing.start_deadline_ms(0, lease_timing.start_window_s(RERUN, lease_s))
    end_ms = lease_timing.lease_end_ms(0, lease_s)
    kill_ms = lease_timing.kill_start_ms(end_ms, lease_s)
    assert start_ms < kill_ms < end_ms
    # Time is left for KILL after the grace period.
    assert kill_ms + 1000 * lease_timing.kill_grace_s(lease_s) < end_ms


def test_figures_of_the_default_lease() -> None:
    end_ms = lease_timing.lease_end_ms(1000, lease_timing.DEFAULT_LEASE_S)
    assert end_ms == 1_801_000
    assert lease_timing.kill_start_ms(end_ms, lease_timing.DEFAULT_LEASE_S) == 1_771_000
    assert lease_timing.kill_grace_s(lease_timing.DEFAULT_LEASE_S) == 20.0
    assert lease_timing.expiry_after_ms(RERUN, lease_timing.DEFAULT_LEASE_S) == 2_255_000
    assert lease_timing.start_deadline_ms(1000, 900.5) == 901_500


def test_a_short_lease_reserves_a_quarter_of_itself_for_the_kill() -> None:
    assert lease_timing.kill_budget_s(60.0) == 15.0
    assert lease_timing.kill_budget_s(120.0) == 30.0
    assert lease_timing.kill_start_ms(60_000, 60.0) == 45_000
    assert lease_timing.kill_grace_s(60.0) == 10.0


def test_start_window_and_expiry_of_each_silence_policy() -> None:
    assert lease_timing.start_window_s(RERUN, 600.0) == 300.0
    assert lease_timing.start_window_s(RERUN, 21_600.0) == 900.0
    assert lease_timing.start_window_s(KEEP, None) == 900.0
    assert lease_timing.start_window_s(IDEMPOTENT, None) == 30.0
    assert lease_timing.expiry_after_ms(KEEP, None) is None
    assert lease_timing.expiry_after_ms(IDEMPOTENT, None) == 60_000
    assert not lease_timing.has_expired(0, KEEP, None, 10**15)
    assert not lease_timing.has_expired(0, RERUN, 1800.0, 2_255_000)
    assert lease_timing.has_expired(0, RERUN, 1800.0, 2_255_001)
    assert not lease_timing.has_expired(7, IDEMPOTENT, None, 60_007)
    assert lease_timing.has_expired(7, IDEMPOTENT, None, 60_008)
