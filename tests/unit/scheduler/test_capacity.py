"""Capacity of a machine whose attempts have started or not, and counts of running attempts."""

from __future__ import annotations

import pytest

from mythjobs.scheduler.capacity import (
    MAX_PREFETCH,
    MachineCapacity,
    RunningAttempt,
    UsageCounts,
    free_slots,
    prefetch_limit,
    units_in_use,
)

SHORT_S = 0.01  # 20 of these start within the time of a prefetch on one slot


def test_only_unstarted_attempts_count_against_the_prefetch() -> None:
    started = MachineCapacity(1, 1, [(SHORT_S, 0, True)] * 20)
    assert started.can_take(SHORT_S, 0)
    unstarted = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 20)
    assert not unstarted.can_take(SHORT_S, 0)
    one_less = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 19)
    assert one_less.can_take(SHORT_S, 0)
    one_less.add_live(SHORT_S, 0, False)
    assert not one_less.can_take(SHORT_S, 0)


def test_attempts_of_one_kind_are_counted_together() -> None:
    one_by_one = MachineCapacity(1, 5, [(SHORT_S, 0, False)] * 19 + [(None, 2, True)] * 3)
    together = MachineCapacity(1, 5, ())
    together.add_live(SHORT_S, 0, False, 19)
    together.add_live(None, 2, True, 3)
    for capacity in (one_by_one, together):
        assert (capacity.leased, capacity.max_leases) == (22, 5 + MAX_PREFETCH - 22)
        # 40 short attempts start on the two slots without a long one in the time of a prefetch.
        for _ in range(21):
            assert capacity.can_take(SHORT_S, 0)
            capacity.add(SHORT_S, 0)
        assert not capacity.can_take(SHORT_S, 0)


def test_unstarted_attempts_of_lower_priority_do_not_count() -> None:
    behind = MachineCapacity(1, 1, [(SHORT_S, 0, False)] * 20)
    assert behind.can_take(SHORT_S, 1)
    assert not behind.can_take(SHORT_S, 0)


def test_a_long_job_is_leased_ahead_only_as_the_next_one() -> None:
    assert MachineCapacity(1, 1, [(SHORT_S, 0, True)]).can_take(None, 0)
    assert not MachineCapacity(1, 1, [(SHORT_S, 0, False)]).can_take(None, 0)
    assert not MachineCapacity(1, 1, [(None, 0, True)]).can_take(None, 0)


@pytest.mark.parametrize(
    "slots, typical_s, limit",
    [
        (1, 0.2, 1),
        (4, 0.2, 4),
        (1, 0.15, 2),
        (8, 0.01, 160),
        (8, 0.001, MAX_PREFETCH),
        (1, 0.0, MAX_PREFETCH),
    ],
)
def test_a_machine_holds_the_jobs_that_start_within_the_time_of_a_prefetch(
    slots: int, typical_s: float, limit: int
) -> None:
    assert prefetch_limit(slots, typical_s) == limit


def test_free_slots_are_never_negative() -> None:
    assert [free_slots(2, running) for running in (0, 1, 2, 3)] == [2, 1, 0, 0]


def test_a_machine_with_free_slots_takes_any_job() -> None:
    capacity = MachineCapacity(1, 2, [(None, 0, False)])
    assert not capacity.is_full
    assert capacity.can_take(None, -5)
    capacity.add(None, 0)
    assert capacity.is_full
    assert not capacity.can_take(SHORT_S, 100)


def test_a_job_is_too_long_for_prefetch_from_just_over_its_time() -> None:
    # One short and one long job on two slots: the slot of the short one counts.
    for typical_s, slots_of_short_jobs in ((0.2, 2), (0.201, 1), (None, 1)):
        capacity = MachineCapacity(1, 2, [(SHORT_S, 0, True), (typical_s, 0, True)])
        taken = 0
        while capacity.can_take(SHORT_S, 0):
            capacity.add(SHORT_S, 0)
            taken += 1
        assert taken == 20 * slots_of_short_jobs
    assert MachineCapacity(1, 1, [(SHORT_S, 0, False)]).can_take(0.2, 0) is False
    assert MachineCapacity(1, 1, [(SHORT_S, 0, True)]).can_take(0.2, 0) is True
    one_waits = MachineCapacity(1, 2, [(SHORT_S, 0, True), (SHORT_S, 0, False)])
    assert [one_waits.can_take(each, 0) for each in (0.2, 0.201, None)] == [True, False, False]


def test_a_machine_holds_no_more_leases_than_twice_the_largest_prefetch() -> None:
    # Jobs of ever higher priority: none of them counts against the next one.
    capacity = MachineCapacity(1, 1, [])
    priority = 0
    while capacity.can_take(0.0001, priority):
        capacity.add(0.0001, priority)
        priority += 1
    assert capacity.leased == 1 + 2 * MAX_PREFETCH
    assert capacity.is_full
    assert capacity.max_leases == 1


def test_the_number_of_further_leases_is_bounded() -> None:
    assert MachineCapacity(1, 3, []).max_leases == 3 + MAX_PREFETCH
    assert MachineCapacity(1, 3, [(None, 0, True)] * 2).max_leases == 1 + MAX_PREFETCH


def test_a_frozen_attempt_releases_the_units_of_some_semaphores() -> None:
    units = (("nas", 2), ("gpu", 1))
    assert units_in_use(units, {"nas"}, is_frozen=True) == (("gpu", 1),)
    assert units_in_use(units, {"nas"}, is_frozen=False) == units
    assert units_in_use(units, (), is_frozen=True) == units


def test_running_attempts_are_counted_by_machine_command_and_semaphore() -> None:
    counts = UsageCounts([RunningAttempt(1, 7, (("nas", 2),)), RunningAttempt(2, 7)])
    counts.add(RunningAttempt(1, 8, (("nas", 1), ("gpu", 4))))
    assert counts.by_machine == {1: 2, 2: 1}
    assert counts.by_command == {7: 2, 8: 1}
    assert counts.by_machine_and_command == {(1, 7): 1, (2, 7): 1, (1, 8): 1}
    assert counts.semaphore_units == {"nas": 3, "gpu": 4}
