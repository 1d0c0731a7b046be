"""Order: priority, shares of submitters, deadlines, shares of commands, then age."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from mythjobs.scheduler.order import (
    BlockedJob,
    BlockedJobs,
    ClassQueue,
    FairShares,
    ReadyJob,
    SortKey,
    deadline_order,
)

Waiting = dict[tuple[str, int], list[tuple[int, int]]]  # (submitter, command) to (priority, job)


def drain(shares: FairShares, waiting: Waiting, count: int, cost: float | None = 1.0) -> list[int]:
    """Lease the first `count` jobs in order; each is charged before the next is chosen."""
    chosen = []
    for _ in range(count):
        key, who = min(
            (shares.sort_key(jobs[0][0], *who, jobs[0][1]), who)
            for who, jobs in waiting.items()
            if jobs
        )
        chosen.append(waiting[who].pop(0)[1])
        shares.charge(key, *who, cost)
    return chosen


def jobs(first: int, count: int, priority: int = 0) -> list[tuple[int, int]]:
    return [(priority, first + i) for i in range(count)]


def test_jobs_of_one_class_go_by_priority_then_age() -> None:
    shares = FairShares()
    waiting = {("anna", 1): [(5, 9), (0, 1), (0, 2)]}
    assert drain(shares, waiting, 3) == [9, 1, 2]


def test_priority_outranks_fair_shares() -> None:
    shares = FairShares()
    waiting = {("anna", 1): jobs(1, 3, priority=1), ("ben", 2): jobs(4, 1)}
    assert drain(shares, waiting, 4) == [1, 2, 3, 4]


def test_submitters_and_then_their_commands_take_turns() -> None:
    shares = FairShares()
    waiting = {
        ("anna", 1): jobs(1, 100),
        ("anna", 2): jobs(101, 100),
        ("ben", 1): jobs(201, 100),
    }
    chosen = drain(shares, waiting, 40)
    assert Counter(job > 200 for job in chosen) == {True: 20, False: 20}
    assert Counter(job > 100 for job in chosen if job <= 200) == {True: 10, False: 10}
    # Within a class the oldest come first.
    assert [job for job in chosen if job > 200] == list(range(201, 221))


def test_a_command_of_long_jobs_gets_as_much_time_as_one_of_short_ones() -> None:
    shares = FairShares()
    spent: Counter[int] = Counter()
    for _ in range(100):
        keys = {command: shares.sort_key(0, "anna", command, command) for command in (1, 2)}
        command = min(keys, key=lambda each: keys[each])
        cost = 60.0 if command == 1 else 5.0
        shares.charge(keys[command], "anna", command, cost)
        spent[command] += round(cost)
    assert abs(spent[1] - spent[2]) <= 60


def test_an_idle_submitter_saves_up_nothing() -> None:
    shares = FairShares()
    drain(shares, {("anna", 1): jobs(1, 50)}, 50)
    # Ben submits later: he gets every second turn from then on, not fifty turns at once.
    chosen = drain(shares, {("anna", 1): jobs(51, 50), ("ben", 1): jobs(101, 50)}, 10)
    assert 5 <= sum(job > 100 for job in chosen) <= 6


def test_a_waiting_submitter_is_not_passed_forever() -> None:
    shares = FairShares()
    waiting = {("anna", 1): jobs(1, 1)} | {(f"user{n}", 2): jobs(100 * n, 50) for n in range(1, 10)}
    assert 1 in drain(shares, waiting, 10)


def test_equal_histories_give_equal_orders() -> None:
    def once() -> list[int]:
        return drain(
            FairShares(),
            {("anna", 1): jobs(1, 9), ("ben", 2): jobs(20, 9), ("ben", 3): jobs(40, 9)},
            20,
        )

    assert once() == once()


def test_a_class_queue_pops_the_smallest_current_key_although_keys_grow() -> None:
    random = Random(7)
    for _ in range(50):
        shares = FairShares()
        # class: (submitter, command, priority (negated) and deadline of each of its jobs)
        classes = {
            number: (
                random.choice("abc"),
                number % 7,
                sorted(
                    (-random.randint(0, 2), deadline_order(random.choice([None, 7, 9])))
                    for _ in range(random.randint(0, 6))
                ),
            )
            for number in range(20)
        }

        def key(number: int, shares: FairShares = shares, classes: Any = classes) -> SortKey | None:
            submitter, command, jobs = classes[number]
            if not jobs:
                return None
            priority, deadline = jobs[0]
            return shares.sort_key(
                -priority, submitter, command, 100 * number + len(jobs), deadline
            )

        queue = ClassQueue(key)
        for number in classes:
            if (at := key(number)) is not None:
                queue.push(at, classes[number][0], number)
        found = queue.pop()
        while found is not None:
            smallest, number = found
            assert smallest == min(each for each in map(key, classes) if each is not None)
            submitter, command, jobs = classes[number]
            shares.charge(smallest, submitter, command, random.choice([None, 1.0, 25.0]))
            del jobs[0]
            at = key(number)
            if at is not None and random.random() < 0.5:
                found = queue.push_pop(at, submitter, number)
                continue
            if at is not None:
                queue.push(at, submitter, number)
            found = queue.pop()
        assert not any(jobs for _, _, jobs in classes.values())


def test_a_deadline_ranks_between_the_shares_of_submitters_and_those_of_commands() -> None:
    shares = FairShares()
    served = shares.sort_key(0, "anna", 1, 1)
    shares.charge(served, "anna", 1, 60.0)
    soon, later = deadline_order(1_000), deadline_order(2_000)
    keys = [
        shares.sort_key(5, "anna", 1, 5),
        shares.sort_key(0, "ben", 1, 4),
        shares.sort_key(0, "anna", 1, 9, soon),
        shares.sort_key(0, "anna", 2, 3, later),
        shares.sort_key(0, "anna", 2, 6),
        shares.sort_key(0, "anna", 1, 2),
    ]
    assert sorted(keys) == keys


def test_shares_are_charged_with_the_usual_duration() -> None:
    shares = FairShares()
    shares.charge(shares.sort_key(0, "anna", 7, 1), "anna", 7, 2.5)
    assert shares.finish_tags == {("anna", 0): 2.5, ("anna", 7): 2.5}
    # An unknown duration counts ten seconds.
    second = shares.sort_key(3, "anna", 8, 2, -5)
    assert second == SortKey(-3, 2.5, -5, 0.0, 2)
    shares.charge(second, "anna", 8, None)
    assert shares.finish_tags == {("anna", 0): 12.5, ("anna", 7): 2.5, ("anna", 8): 10.0}
    assert (shares.virtual_time, shares.command_virtual_times) == (2.5, {"anna": 0.0})
    # A new submitter begins at the virtual time, a new command at that of its submitter.
    assert shares.sort_key(0, "ben", 7, 3) == SortKey(0, 2.5, 0, 0.0, 3)
    shares.charge(shares.sort_key(0, "anna", 7, 4), "anna", 7, 1.0)
    assert shares.sort_key(0, "anna", 9, 5).command == 2.5


def test_a_copy_of_the_shares_is_independent() -> None:
    shares = FairShares()
    shares.charge(shares.sort_key(0, "anna", 7, 1), "anna", 7, 2.5)
    copied = shares.copy()
    assert copied == shares
    for _ in range(2):
        copied.charge(copied.sort_key(0, "anna", 7, 2), "anna", 7, 2.5)
    copied.charge(copied.sort_key(0, "ben", 7, 3), "ben", 7, 2.5)
    assert shares.finish_tags == {("anna", 0): 2.5, ("anna", 7): 2.5}
    assert (shares.virtual_time, shares.command_virtual_times) == (0.0, {"anna": 0.0})
    assert copied.virtual_time == 5.0
    assert copied.copy() == copied


def test_a_deadline_sorts_before_none_and_an_earlier_one_before_a_later() -> None:
    last_ms = 253_402_300_799_999  # the end of the year 9999
    keys = [deadline_order(each) for each in (0, 1, last_ms, None)]
    assert keys == sorted(set(keys))
    assert keys[-1] == 0


def test_a_class_without_jobs_leaves_the_queue() -> None:
    keys: dict[int, SortKey | None] = {n: SortKey(0, 0.0, 0, 0.0, n) for n in (1, 2, 3)}
    queue = ClassQueue(lambda class_id: keys[class_id])
    for class_id, key in keys.items():
        assert key is not None
        queue.push(key, "anna", class_id)
    keys[1] = None
    assert queue.pop() == (SortKey(0, 0.0, 0, 0.0, 2), 2)
    keys[3] = None
    assert queue.pop() is None
    assert queue.pop() is None


def a_ready_job(job_id: int, class_id: int, priority: int = 0) -> ReadyJob:
    return ReadyJob(job_id, class_id, priority, None, 0)


def test_a_job_is_starving_after_a_minute_behind_semaphores() -> None:
    blocked = BlockedJobs()
    blocked.add(a_ready_job(7, 1), 1000)
    blocked.add(a_ready_job(7, 1), 5000)
    assert blocked.find_starving(60_999) == []
    assert blocked.find_starving(61_000) == [(1, BlockedJob(7, 0, 1000))]
    # Another first job of the class begins to wait anew.
    blocked.add(a_ready_job(8, 1), 50_000)
    assert blocked.find_starving(109_999) == []
    assert blocked.find_starving(110_000) == [(1, BlockedJob(8, 0, 50_000))]
    copied = blocked.copy()
    copied.remove(1)
    copied.remove(1)
    assert copied.find_starving(10**9) == []
    assert blocked.find_starving(10**9) == [(1, BlockedJob(8, 0, 50_000))]


def test_starving_jobs_are_ordered_by_priority_then_by_the_length_of_their_wait() -> None:
    blocked = BlockedJobs()
    blocked.add(a_ready_job(1, 10), 2000)
    blocked.add(a_ready_job(5, 11), 1000)
    blocked.add(a_ready_job(4, 12), 1000)
    blocked.add(a_ready_job(9, 13, priority=3), 3000)
    order = [job.job_id for _, job in blocked.find_starving(10**6)]
    assert order == [9, 4, 5, 1]
