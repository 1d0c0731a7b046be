"""Placement over a real store: what is granted where, in which order, and on what terms."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.house import House


def test_a_job_goes_to_the_emptiest_machine_that_allows_it(house: House) -> None:
    house.join("attic", 4)
    house.join("cellar", 2)
    house.define()
    jobs = house.queue(3)
    assert house.take_grants("attic") == [jobs[0], jobs[2]]
    assert house.take_grants("cellar") == [jobs[1]]


def test_submitters_take_turns_and_the_older_goes_first_of_one(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    first = house.queue(1)
    house.take_grants()
    annas = house.queue(20)
    bens = house.queue(3, by="ben")
    order = []
    running = first
    for _ in range(6):
        house.finish(attic, *running, seconds=600)
        running = house.take_grants()
        order += running
    assert [each for each in order if each in bens] == bens
    assert [each for each in order if each in annas] == annas[:3]


def test_a_higher_priority_goes_first_whoever_has_had_less(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    running = house.queue(1)
    house.take_grants()
    [ben] = house.queue(1, by="ben")
    urgent = house.queue(2, priority=5)
    order = []
    for _ in range(3):
        house.finish(attic, *running)
        running = house.take_grants()
        order += running
    assert order == [*urgent, ben]


def test_a_job_that_is_cancelled_while_it_is_known_as_next_is_not_granted(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    jobs = house.queue(4)
    assert house.take_grants() == [jobs[0]]
    house.request(requests.CancelJobs([jobs[1]], "anna"))
    house.finish(attic, jobs[0])
    assert house.take_grants() == [jobs[2]]


def test_a_grant_carries_the_limits_of_author_and_command(house: House) -> None:
    house.join()
    house.define(
        limits={"wall": "1h", "memory": "1GiB", "processes": 9, "nice": 5, "io": "idle"},
        retry={"failures": 1, "later": "NAS offline"},
    )
    house.submit()
    [grant] = house.received(m.Grant)
    run = grant.run
    assert (run.wall_s, run.memory_bytes, run.processes) == (3600, 2**30, 9)
    assert (run.nice, run.io, run.later, run.contain) == (5, "idle", "NAS offline", True)
    assert (grant.command, grant.hours) == ("flag", None)


def test_silence_is_keep_where_one_machine_may_run_it_and_rerun_where_two_may(
    house: House,
) -> None:
    house.join("attic")
    house.define()
    house.submit()
    [grant] = house.received(m.Grant)
    assert (grant.silence, grant.lease_s) == ("keep", None)
    house.join("cellar")
    house.submit()
    [grant] = house.received(m.Grant, "cellar")
    assert (grant.silence, grant.lease_s, grant.start_by_s) == ("rerun", 1800.0, 900.0)
    house.define("careful", silence="hold", lease="10m")
    house.submit("careful")
    [grant] = house.received(m.Grant, "attic") + house.received(m.Grant, "cellar")
    assert (grant.silence, grant.lease_s, grant.start_by_s) == ("hold", 600.0, 300.0)


def test_a_ceiling_that_a_new_revision_brings_counts_jobs_of_the_old_one(house: House) -> None:
    attic = house.join("attic", 1)
    house.define("busy")
    [busy] = house.queue(1, "busy")
    house.define()
    old = house.queue(2, by="ben")
    house.define(at_most=2)
    new = house.queue(2)
    house.request(requests.SetMachine("attic", jobs=9))
    assert sorted(house.take_grants()) == [busy, *old, new[0]]
    assert house.explain(new[1])["code"] == "at_most"
    assert attic
