"""Starvation, reads from the store, and validity of what the placement cache keeps."""

from __future__ import annotations

import contextlib

import pytest

from mythjobs.master import requests
from mythjobs.scheduler.order import ReadyJob
from mythjobs.store.queries import ready_jobs
from mythjobs.store.transaction import Transaction
from tests.unit.master.harness import Harness


def test_a_job_that_needs_a_whole_semaphore_is_not_starved_by_jobs_that_need_one_unit(
    master: Harness,
) -> None:
    attic = master.join("attic", 8)
    master.request(requests.SetSemaphore("nas", 3))
    master.define("small", semaphores={"nas": 1})
    master.define("big", semaphores={"nas": 3})
    smalls = master.queue(50, "small")
    running = master.take_grants()
    assert running == smalls[:3]
    big = master.submit("big").id
    assert master.explain(big)["sentence"] == "waits: 3 of 3 units of semaphore nas are in use"
    # The small jobs end one by one, so three units are never free by chance.
    order = []
    for _ in range(8):
        master.advance(10)
        done, *running = running
        master.finish(attic, done)
        started = master.take_grants()
        running += started
        order += started
    # After a minute free units are reserved for the big job.
    assert order == [*smalls[3:8], big]
    assert running == [big]
    # After the big job the small ones continue.
    master.finish(attic, big)
    assert len(master.take_grants()) == 3


def test_an_urgent_job_may_take_reserved_units(master: Harness) -> None:
    attic = master.join("attic", 8)
    master.request(requests.SetSemaphore("nas", 2))
    master.define("small", semaphores={"nas": 1})
    master.define("big", semaphores={"nas": 2})
    first, second = master.queue(2, "small")
    master.submit("big")
    master.advance(61)
    assert master.take_grants() == [first, second]
    master.finish(attic, first)
    assert master.take_grants() == []
    urgent = master.submit("small", priority=1).id
    assert master.take_grants() == [urgent]


def test_an_older_reservation_of_lower_priority_does_not_hide_an_urgent_starving_job(
    master: Harness,
) -> None:
    attic = master.join("attic", 8)
    master.request(requests.SetSemaphore("nas", 2))
    for name, units in (("small", 1), ("patient", 2), ("urgent", 2)):
        master.define(name, semaphores={"nas": units})
    running = [master.submit("small", priority=1).id for _ in range(2)]
    assert master.take_grants() == running
    master.submit("patient")
    urgent = master.submit("urgent", priority=1).id
    master.advance(61)
    # Both starve, the one of lower priority in front. Its reservation must not be the only one.
    master.submit("small", priority=1)
    master.finish(attic, running[0])
    assert master.take_grants() == []
    master.finish(attic, running[1])
    assert master.take_grants() == [urgent]


def test_a_reservation_ends_with_the_job_that_it_was_made_for(master: Harness) -> None:
    attic = master.join("attic", 8)
    master.request(requests.SetSemaphore("nas", 2))
    for name, units in (("small", 1), ("holder", 1), ("big", 2)):
        master.define(name, semaphores={"nas": units})
    holders = master.queue(2, "holder")
    assert master.take_grants() == holders
    first, _ = master.queue(2, "small")
    big = master.submit("big").id
    master.advance(61)
    # The first small job has waited as long as the big one; the second has not.
    master.finish(attic, *holders)
    assert master.take_grants() == [first]
    master.finish(attic, first)
    assert master.take_grants() == [big]


def test_no_short_job_passes_the_first_job_for_a_full_machine(master: Harness) -> None:
    attic = master.join("attic", 2)
    master.define()
    master.define("short")
    master.learn_run_time(attic, 0.01, "short")
    running = master.queue(2)
    assert master.take_grants() == running
    first = master.submit(priority=1).id
    master.queue(5, "short")
    assert master.take_grants() == []
    master.finish(attic, running[0])
    assert master.take_grants()[0] == first


def test_a_turn_that_fills_one_slot_reads_no_class_again(
    master: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic = master.join("attic", 1)
    names = [f"c{number}" for number in range(50)]
    for name in names:
        master.define(name)
        master.queue(3, name)
    [running] = master.take_grants()
    master.finish(attic, running)
    [running] = master.take_grants()
    read: list[int] = []
    real = ready_jobs.read_next

    def counting(tx: Transaction, class_id: int, most: int) -> list[ReadyJob]:
        read.append(class_id)
        return real(tx, class_id, most)

    monkeypatch.setattr(ready_jobs, "read_next", counting)
    started = []
    for _ in range(48):
        master.finish(attic, running)
        [running] = master.take_grants()
        started.append(running)
    assert read == []
    # Each command had its turn.
    assert len({(job - 1) // 3 for job in started}) == 48


def test_classes_that_no_machine_permits_are_left_out_until_a_policy_changes(
    master: Harness,
) -> None:
    attic = master.join("attic", 1)
    for number in range(20):
        master.define(f"gpu{number}", labels=["gpu"])
        master.submit(f"gpu{number}")
    master.define()
    jobs = master.queue(3)
    plan = master.core.state.placement
    assert len(plan.unplaceable) == 20
    assert master.take_grants() == [jobs[0]]
    master.finish(attic, jobs[0])
    assert master.take_grants() == [jobs[1]]
    settings = {"allow": "all", "labels": ["gpu"], "jobs": 30}
    master.request(requests.EditMachine("attic", settings))
    assert len(master.take_grants()) == 21
    assert master.core.state.placement.unplaceable == set()


def test_a_job_of_higher_priority_goes_before_cached_next_jobs(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    jobs = master.queue(5)
    master.take_grants()
    urgent = master.submit(priority=3).id
    master.finish(attic, jobs[0])
    assert master.take_grants() == [urgent]
    master.finish(attic, urgent)
    assert master.take_grants() == [jobs[1]]


def test_a_rolled_back_turn_leaves_placement_unchanged(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    jobs = master.queue(3)
    assert master.take_grants() == [jobs[0]]
    before = master.core.state
    with contextlib.suppress(ZeroDivisionError), master.store.transaction() as tx:
        master.core.run_turn(tx, [requests.CancelJobs([jobs[1]], "anna")], master.now)
        raise ZeroDivisionError
    master.core.catalog.clear()
    assert master.core.state is before
    master.finish(attic, jobs[0])
    assert master.take_grants() == [jobs[1]]


def test_hours_are_evaluated_again_after_the_wall_clock_stepped_back(master: Harness) -> None:
    master.join("attic", 2)
    master.define(windows={"open": ["12:00-13:00"]})
    first = master.submit().id
    assert master.take_grants() == [first]
    master.now = master.now._replace(wall_ms=master.now.wall_ms - 3_600_000)
    second = master.submit()
    assert master.take_grants() == []
    assert second.reason == "waits for the window of machine attic, opens at 12:00 (in 1 h)"
    master.advance(3600)
    assert master.take_grants() == [second.id]
