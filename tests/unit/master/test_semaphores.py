"""Semaphores of frozen jobs: kept, or released where `free_when_frozen` is set."""

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
    """Return a connection, a running job that holds the only unit, and a waiting job."""
    attic = master.join("attic", 4)
    master.request(requests.SetSemaphore("nas", 1, free))
    master.define(semaphores={"nas": 1})
    first, second = master.queue(2)
    assert master.take_grants() == [first]
    master.attempts["attic"][first, 1] = "running"
    master.send_frame(attic, m.Started(first, 1, master.now.wall_ms))
    return attic, first, second


def test_a_frozen_job_keeps_its_units_by_default(master: Harness) -> None:
    attic, first, _ = _running(master, free=False)
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert (master.take_grants(), _used(master)) == ([], 1)


def test_free_when_frozen_releases_the_units_until_the_job_is_thawed(master: Harness) -> None:
    attic, first, second = _running(master, free=True)
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert (master.take_grants(), _used(master)) == ([second], 1)
    # Thawed: more units are in use than exist, and nothing starts until they are free.
    master.send_frame(attic, m.Frozen(first, 1, []))
    assert _used(master) == 2
    third = master.submit().id
    assert master.explain(third)["sentence"] == "waits: 2 of 1 units of semaphore nas are in use"
    master.finish(attic, second)
    assert (master.take_grants(), _used(master)) == ([], 1)
    master.finish(attic, first)
    assert master.take_grants() == [third]


def test_no_job_counts_as_frozen_while_its_machine_is_disconnected(master: Harness) -> None:
    attic, first, second = _running(master, free=True)
    master.request(requests.SetMachine("attic", jobs=1))
    master.send_frame(attic, m.Frozen(first, 1, ["user"]))
    assert (master.take_grants(), _used(master)) == ([], 0)
    master.disconnect(attic)
    assert _used(master) == 1
    # Nor after a reconnect, until the machine reports the freeze again.
    attic = master.join("attic", 4)
    assert _used(master) == 1
    master.send_frame(attic, m.Frozen(first, 1, ["user"]))
    assert _used(master) == 0
    assert master.state(second) == "queued"


def test_free_when_frozen_survives_a_restart_of_the_master(master: Harness) -> None:
    _, first, second = _running(master, free=True)
    master.restart()
    attic = master.join("attic", 4)
    assert master.take_grants() == []
    master.send_frame(attic, m.Frozen(first, 1, ["window"]))
    assert master.take_grants() == [second]
    # A user can change the setting.
    master.request(requests.SetSemaphore("nas", 1, False))
    assert _used(master) == 2
