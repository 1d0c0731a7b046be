"""A frozen job keeps its semaphores, and gives back those that say so."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.explain import machine
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness


def _used(master: Harness) -> int:
    with master.store.snapshot() as tx:
        [found] = machine.read_semaphore_usage(tx, master.core.state)["semaphores"]
    return int(found["used"])


def _running(master: Harness, *, free: bool) -> tuple[int, int, int]:
    """A machine's connection, a job that runs there and has the only unit, and one that waits."""
    attic = master.join("attic", 4)
    master.request(requests.SetSemaphore("nas", 1, free))
    master.define(semaphores={"nas": 1})
    first, second = master.queue(2)
    assert master.take_grants() == [first]
    master.attempts["attic"][first, 1] = "running"
    master.send_frame(attic, m.Started(first, 1, master.now.wall_ms))
    return attic, first, second


def test_a_frozen_job_keeps_its_units_where_nothing_else_is_said(master: Harness) -> None:
    attic, first, _ = _running(master, free=False)
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert (master.take_grants(), _used(master)) == ([], 1)


def test_a_frozen_job_gives_back_what_says_so_and_takes_it_again_when_it_goes_on(
    master: Harness,
) -> None:
    attic, first, second = _running(master, free=True)
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert (master.take_grants(), _used(master)) == ([second], 1)
    # It goes on: more is taken than there is, and nothing starts until it fits.
    master.send_frame(attic, m.Frozen(first, 1, []))
    assert _used(master) == 2
    third = master.submit().id
    assert master.explain(third)["sentence"] == "waits: 2 of 1 of semaphore nas are taken"
    master.finish(attic, second)
    assert (master.take_grants(), _used(master)) == ([], 1)
    master.finish(attic, first)
    assert master.take_grants() == [third]


def test_on_a_machine_that_is_away_nothing_counts_as_frozen(master: Harness) -> None:
    attic, first, second = _running(master, free=True)
    master.request(requests.SetMachine("attic", jobs=1))
    master.send_frame(attic, m.Frozen(first, 1, ["user"]))
    assert (master.take_grants(), _used(master)) == ([], 0)
    master.disconnect(attic)
    assert _used(master) == 1
    # Nor when it comes again, until it says so.
    attic = master.join("attic", 4)
    assert _used(master) == 1
    master.send_frame(attic, m.Frozen(first, 1, ["user"]))
    assert _used(master) == 0
    assert master.state(second) == "queued"


def test_a_restart_of_the_master_knows_which_semaphores_are_given_back(
    master: Harness,
) -> None:
    _, first, second = _running(master, free=True)
    master.restart()
    attic = master.join("attic", 4)
    assert master.take_grants() == []
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert master.take_grants() == [second]
    # And it is a person's to say otherwise.
    master.request(requests.SetSemaphore("nas", 1, False))
    assert _used(master) == 2
