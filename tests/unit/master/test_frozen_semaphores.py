"""A frozen job keeps its semaphores, and gives back those that say so."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.explain import pages
from mythjobs.protocol import messages as m
from tests.unit.master.house import House


def _used(house: House) -> int:
    with house.store.reading() as tx:
        [found] = pages.semaphores(tx, house.core.memory)["semaphores"]
    return int(found["used"])


def _running(house: House, *, free: bool) -> tuple[int, int, int]:
    """A machine's connection, a job that runs there and has the only unit, and one that waits."""
    attic = house.join("attic", 4)
    house.ask(requests.SetSemaphore("nas", 1, free))
    house.define(semaphores={"nas": 1})
    first, second = house.queue(2)
    assert house.granted() == [first]
    house.held["attic"][first, 1] = "running"
    house.hear(attic, m.Started(first, 1, house.now.wall_ms))
    return attic, first, second


def test_a_frozen_job_keeps_its_units_where_nothing_else_is_said(house: House) -> None:
    attic, first, _ = _running(house, free=False)
    house.hear(attic, m.Frozen(first, 1, ["window"]))
    assert (house.granted(), _used(house)) == ([], 1)


def test_a_frozen_job_gives_back_what_says_so_and_takes_it_again_when_it_goes_on(
    house: House,
) -> None:
    attic, first, second = _running(house, free=True)
    house.hear(attic, m.Frozen(first, 1, ["window"]))
    assert (house.granted(), _used(house)) == ([second], 1)
    # It goes on: more is taken than there is, and nothing starts until it fits.
    house.hear(attic, m.Frozen(first, 1, []))
    assert _used(house) == 2
    third = house.submit().id
    assert house.why(third)["sentence"] == "waits: 2 of 1 of semaphore nas are taken"
    house.run(attic, second)
    assert (house.granted(), _used(house)) == ([], 1)
    house.run(attic, first)
    assert house.granted() == [third]


def test_on_a_machine_that_is_away_nothing_counts_as_frozen(house: House) -> None:
    attic, first, second = _running(house, free=True)
    house.ask(requests.SetMachine("attic", jobs=1))
    house.hear(attic, m.Frozen(first, 1, ["user"]))
    assert (house.granted(), _used(house)) == ([], 0)
    house.leave(attic)
    assert _used(house) == 1
    # Nor when it comes again, until it says so.
    attic = house.join("attic", 4)
    assert _used(house) == 1
    house.hear(attic, m.Frozen(first, 1, ["user"]))
    assert _used(house) == 0
    assert house.state(second) == "queued"


def test_a_restart_of_the_master_knows_which_semaphores_are_given_back(house: House) -> None:
    _, first, second = _running(house, free=True)
    house.restart()
    attic = house.join("attic", 4)
    assert house.granted() == []
    house.hear(attic, m.Frozen(first, 1, ["window"]))
    assert house.granted() == [second]
    # And it is a person's to say otherwise.
    house.ask(requests.SetSemaphore("nas", 1, False))
    assert _used(house) == 2
