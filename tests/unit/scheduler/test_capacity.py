"""Capacity of a machine whose attempts have started or not."""

from __future__ import annotations

from mythjobs.scheduler.capacity import MachineCapacity

SHORT_S = 0.01  # 20 of these start within the time of a prefetch on one slot


def test_only_unstarted_attempts_count_against_the_prefetch() -> None:
    started = MachineCapacity(1, 1, [(SHORT_S, 0, True)] * 20)
    assert started.can_take(SHORT_S, 0)
    unstarted = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 20)
    assert not unstarted.can_take(SHORT_S, 0)
    one_less = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 19)
    assert one_less.can_take(SHORT_S, 0)


def test_unstarted_attempts_of_lower_priority_do_not_count() -> None:
    behind = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 20)
    assert behind.can_take(SHORT_S, 1)
    assert not behind.can_take(SHORT_S, 0)


def test_a_long_job_is_leased_ahead_only_as_the_next_one() -> None:
    assert MachineCapacity(1, 1, [(SHORT_S, 0, True)]).can_take(None, 0)
    assert not MachineCapacity(1, 1, [(SHORT_S, 0, False)]).can_take(None, 0)
    assert not MachineCapacity(1, 1, [(None, 0, True)]).can_take(None, 0)
