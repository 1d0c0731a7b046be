"""The arithmetic of leases: who counts from when, and that one is always the later."""

from __future__ import annotations

import itertools

import pytest

from mythjobs.protocol import lease

LEASES = (60.0, 300.0, lease.L_S, 6 * 3600.0)


@pytest.mark.parametrize("lease_s", LEASES)
def test_the_master_is_later_than_the_machine_however_their_clocks_run(lease_s: float) -> None:
    # True time, with a heartbeat that took no time at all: the worst there is for the master.
    for machine, master in itertools.product((0.9, 1.0, 1.1), repeat=2):
        dead_s = lease_s / machine
        after_ms = lease.presumed_after_ms(lease.RERUN, lease_s)
        assert after_ms is not None
        presumed_s = after_ms / 1000 / master
        assert presumed_s > dead_s


@pytest.mark.parametrize("lease_s", LEASES)
def test_what_is_started_at_the_last_moment_is_over_before_its_lease(lease_s: float) -> None:
    start_ms = lease.start_by_ms(0, lease.start_by_s(lease.RERUN, lease_s))
    end_ms = lease.lease_end_ms(0, lease_s)
    kill_ms = lease.kill_ms(end_ms, lease_s)
    assert start_ms < kill_ms < end_ms
    # After TERM and its grace there is time left for the KILL.
    assert kill_ms + 1000 * lease.kill_grace_s(lease_s) < end_ms


def test_the_usual_lease_has_the_usual_figures() -> None:
    end_ms = lease.lease_end_ms(1000, lease.L_S)
    assert end_ms == 1_801_000
    assert lease.kill_ms(end_ms, lease.L_S) == 1_771_000
    assert lease.kill_grace_s(lease.L_S) == 20.0
    assert lease.presumed_after_ms(lease.RERUN, lease.L_S) == 2_255_000


def test_each_policy_has_its_start_by_and_its_patience() -> None:
    assert lease.start_by_s(lease.RERUN, 600.0) == 300.0
    assert lease.start_by_s(lease.RERUN, 21_600.0) == 900.0
    assert lease.start_by_s(lease.KEEP, None) == 900.0
    assert lease.start_by_s(lease.IDEMPOTENT, None) == 30.0
    assert lease.presumed_after_ms(lease.KEEP, None) is None
    assert lease.presumed_after_ms(lease.IDEMPOTENT, None) == 60_000
    assert not lease.is_presumed_over(0, lease.KEEP, None, 10**15)
    assert not lease.is_presumed_over(0, lease.RERUN, 1800.0, 2_255_000)
    assert lease.is_presumed_over(0, lease.RERUN, 1800.0, 2_255_001)
