"""Nothing starves, nothing is read that need not be, and what is remembered stays true."""

from __future__ import annotations

import contextlib

import pytest

from mythjobs.master import requests
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.ready_jobs import ReadyJob
from mythjobs.store.transaction import Transaction
from tests.unit.master.house import House


def test_a_job_that_takes_a_whole_semaphore_is_not_starved_by_many_that_take_one(
    house: House,
) -> None:
    attic = house.join("attic", 8)
    house.request(requests.SetSemaphore("nas", 3))
    house.define("small", semaphores={"nas": 1})
    house.define("big", semaphores={"nas": 3})
    smalls = house.queue(50, "small")
    running = house.take_grants()
    assert running == smalls[:3]
    big = house.submit("big").id
    assert house.explain(big)["sentence"] == "waits: 3 of 3 of semaphore nas are taken"
    # They end one by one, so never are three units free by chance.
    order = []
    for _ in range(8):
        house.advance(10)
        done, *running = running
        house.finish(attic, done)
        started = house.take_grants()
        running += started
        order += started
    # After a minute what becomes free is kept for it.
    assert order == [*smalls[3:8], big]
    assert running == [big]
    # While it runs, and after it, the small ones go on.
    house.finish(attic, big)
    assert len(house.take_grants()) == 3


def test_an_urgent_job_may_take_what_is_kept_for_one_that_waits(house: House) -> None:
    attic = house.join("attic", 8)
    house.request(requests.SetSemaphore("nas", 2))
    house.define("small", semaphores={"nas": 1})
    house.define("big", semaphores={"nas": 2})
    first, second = house.queue(2, "small")
    house.submit("big")
    house.advance(61)
    assert house.take_grants() == [first, second]
    house.finish(attic, first)
    assert house.take_grants() == []
    urgent = house.submit("small", priority=1).id
    assert house.take_grants() == [urgent]


def test_a_full_machine_lets_nothing_smaller_pass_what_is_first(house: House) -> None:
    attic = house.join("attic", 2)
    house.define()
    house.define("short")
    house.learn_run_time(attic, 0.01, "short")
    running = house.queue(2)
    assert house.take_grants() == running
    first = house.submit(priority=1).id
    house.queue(5, "short")
    assert house.take_grants() == []
    house.finish(attic, running[0])
    assert house.take_grants()[0] == first


def test_a_turn_that_fills_one_place_reads_no_class_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic = house.join("attic", 1)
    names = [f"c{number}" for number in range(50)]
    for name in names:
        house.define(name)
        house.queue(3, name)
    [running] = house.take_grants()
    house.finish(attic, running)
    [running] = house.take_grants()
    read: list[int] = []
    real = ready_jobs.read_next

    def counting(tx: Transaction, class_id: int, most: int) -> list[ReadyJob]:
        read.append(class_id)
        return real(tx, class_id, most)

    monkeypatch.setattr(ready_jobs, "read_next", counting)
    started = []
    for _ in range(48):
        house.finish(attic, running)
        [running] = house.take_grants()
        started.append(running)
    assert read == []
    # And each command had its turn.
    assert len({(job - 1) // 3 for job in started}) == 48


def test_classes_that_no_machine_may_run_cost_nothing_until_somebody_says_otherwise(
    house: House,
) -> None:
    attic = house.join("attic", 1)
    for number in range(20):
        house.define(f"gpu{number}", labels=["gpu"])
        house.submit(f"gpu{number}")
    house.define()
    jobs = house.queue(3)
    plan = house.core.state.placement
    assert len(plan.unplaceable) == 20
    assert house.take_grants() == [jobs[0]]
    house.finish(attic, jobs[0])
    assert house.take_grants() == [jobs[1]]
    settings = {"allow": "all", "labels": ["gpu"], "jobs": 30}
    house.request(requests.EditMachine("attic", settings))
    assert len(house.take_grants()) == 21
    assert house.core.state.placement.unplaceable == set()


def test_a_job_of_higher_priority_goes_before_those_that_are_known_as_next(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    jobs = house.queue(5)
    house.take_grants()
    urgent = house.submit(priority=3).id
    house.finish(attic, jobs[0])
    assert house.take_grants() == [urgent]
    house.finish(attic, urgent)
    assert house.take_grants() == [jobs[1]]


def test_a_turn_that_is_rolled_back_leaves_placement_as_it_was(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    jobs = house.queue(3)
    assert house.take_grants() == [jobs[0]]
    before = house.core.state
    with contextlib.suppress(ZeroDivisionError), house.store.transaction() as tx:
        house.core.run_turn(tx, [requests.CancelJobs([jobs[1]], "anna")], house.now)
        raise ZeroDivisionError
    house.core.catalog.clear()
    assert house.core.state is before
    house.finish(attic, jobs[0])
    assert house.take_grants() == [jobs[1]]


def test_a_wall_clock_that_steps_back_asks_the_hours_again(house: House) -> None:
    house.join("attic", 2)
    house.define(windows={"open": ["12:00-13:00"]})
    first = house.submit().id
    assert house.take_grants() == [first]
    house.now = house.now._replace(wall_ms=house.now.wall_ms - 3_600_000)
    second = house.submit()
    assert house.take_grants() == []
    assert second.reason == "waits for the window of machine attic, opens at 12:00 (in 1 h)"
    house.advance(3600)
    assert house.take_grants() == [second.id]
