"""Reruns of ended jobs."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.store.queries.job_details import read_job
from tests.unit.master.harness import Harness


def test_a_rerun_belongs_to_the_user_who_requests_it(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define("backup")
    old = master.submit("backup", machine="attic").id
    master.take_grants()
    master.finish(attic, old)
    [acted] = master.request(requests.RerunJobs([old], "ben"))
    again = int(acted.done)
    assert master.take_grants() == [again]
    with master.store.snapshot() as tx:
        pages = [read_job(tx, each) for each in (old, again)]
    assert [each["submitter"] for each in pages] == ["anna", "ben"]
    master.finish(attic, again)

    master.request(requests.RemoveCommand("backup"))
    [acted] = master.request(requests.RerunJobs([old], "ben"))
    assert acted.error == f"the command of job {old} was removed"
