"""Placement cache: next jobs, overrides, and machines that returned jobs of a class."""

from __future__ import annotations

from mythjobs.master.placement.cache import DECLINED_MS, NextJobs, PlacementCache
from mythjobs.scheduler.order import ReadyJob
from mythjobs.store.writes.overrides import EVERY_COMMAND

NOON = 1_795_521_600_000


def a_job(job_id: int, class_id: int) -> ReadyJob:
    return ReadyJob(job_id, class_id, 0, None, 0)


def a_cache() -> PlacementCache:
    """Return a cache with every field set."""
    cache = PlacementCache(
        overrides={(1, 7): ("allow", NOON)},
        semaphore_sizes={"nas": 2},
        freed_by_freeze=frozenset({"nas"}),
        disabled=frozenset({9}),
        ready_classes={1, 2},
        next_jobs={1: NextJobs((a_job(5, 1),), True)},
        unplaceable={2},
        policy_snapshot=("policy",),
    )
    cache.record_decline(1, 2, NOON)
    cache.blocked.add(a_job(5, 1), 0)
    cache.shares.charge(cache.shares.sort_key(0, "anna", 7, 5), "anna", 7, 3.0)
    return cache


def starving_ids(cache: PlacementCache) -> list[int]:
    return [each.job_id for _, each in cache.blocked.find_starving(10**9)]


def test_a_draft_has_equal_content() -> None:
    cache = a_cache()
    draft = cache.draft()
    assert draft.overrides == {(1, 7): ("allow", NOON)}
    assert (draft.semaphore_sizes, draft.freed_by_freeze) == ({"nas": 2}, frozenset({"nas"}))
    assert draft.disabled == {9}
    assert (draft.ready_classes, draft.unplaceable) == ({1, 2}, {2})
    assert draft.next_jobs == {1: NextJobs((a_job(5, 1),), True)}
    assert draft.policy_snapshot == ("policy",)
    assert draft.declined_until_ms == {(1, 2): NOON + DECLINED_MS}
    assert starving_ids(draft) == [5]
    assert draft.shares == cache.shares


def test_a_change_of_a_draft_leaves_the_original_alone() -> None:
    cache = a_cache()
    draft = cache.draft()
    draft.overrides[2, 7] = ("pause", NOON)
    draft.semaphore_sizes["gpu"] = 1
    draft.invalidate([1, 3])
    draft.unplaceable.add(3)
    draft.clear_declines(1)
    draft.blocked.remove(1)
    draft.shares.charge(draft.shares.sort_key(0, "ben", 7, 6), "ben", 7, 3.0)
    assert cache.overrides == {(1, 7): ("allow", NOON)}
    assert cache.semaphore_sizes == {"nas": 2}
    assert (cache.ready_classes, cache.unplaceable) == ({1, 2}, {2})
    assert list(cache.next_jobs) == [1]
    assert cache.declined_until_ms == {(1, 2): NOON + DECLINED_MS}
    assert starving_ids(cache) == [5]
    assert ("ben", 0) not in cache.shares.finish_tags


def test_a_changed_class_is_read_again_and_a_class_without_jobs_is_left_out() -> None:
    cache = a_cache()
    cache.invalidate([1, 3])
    assert (cache.ready_classes, cache.next_jobs) == ({1, 2, 3}, {})
    cache = a_cache()
    cache.remove_class(1)
    cache.remove_class(8)  # not known
    assert (cache.ready_classes, cache.next_jobs) == ({2}, {})
    assert starving_ids(cache) == []


def test_overrides_of_a_machine_are_those_of_all_commands_and_of_the_command() -> None:
    every, one = ("pause", NOON), ("allow", NOON + 1)
    cache = PlacementCache(
        overrides={(1, EVERY_COMMAND): every, (1, 7): one, (2, 8): ("allow", NOON)}
    )
    assert cache.active_overrides(1, 7) == (every, one)
    assert cache.active_overrides(1, 8) == (every,)
    assert cache.active_overrides(2, 7) == ()
    assert PlacementCache().active_overrides(1, 7) == ()


def test_a_machine_is_offered_no_job_of_a_class_for_a_minute_after_it_returned_one() -> None:
    cache = PlacementCache()
    assert cache.decline_left_ms(1, 2, NOON) == 0
    cache.record_decline(1, 2, NOON)
    left = [cache.decline_left_ms(1, 2, NOON + each) for each in (0, 1, 59_999, 60_000, 60_001)]
    assert left == [60_000, 59_999, 1, 0, 0]
    assert cache.decline_left_ms(1, 3, NOON) == cache.decline_left_ms(2, 2, NOON) == 0
    # The clock was set back: the minute would last for longer.
    assert cache.decline_left_ms(1, 2, NOON - 1) == 0


def test_expired_declines_are_dropped() -> None:
    cache = PlacementCache()
    cache.record_decline(1, 2, NOON)
    cache.record_decline(1, 3, NOON + 1)
    cache.record_decline(2, 2, NOON + 60_000)
    assert cache.declined_until_ms == {
        (1, 3): NOON + 60_001, (2, 2): NOON + 120_000,
    }  # fmt: skip
    # Those of a clock that was set back are dropped as well.
    cache.record_decline(3, 2, NOON)
    assert set(cache.declined_until_ms) == {(3, 2)}
    cache.record_decline(3, 4, NOON)
    assert set(cache.declined_until_ms) == {(3, 2), (3, 4)}
    cache.record_decline(1, 2, NOON)
    cache.clear_declines(3)
    assert set(cache.declined_until_ms) == {(1, 2)}
