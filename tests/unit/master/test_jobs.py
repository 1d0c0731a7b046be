"""Reruns of ended jobs, and changes of the priority of queued ones."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
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


def test_another_priority_changes_the_order_of_waiting_jobs(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define("backup")
    running, first, second = (master.submit("backup").id for _ in range(3))
    assert master.take_grants() == [running]
    results = master.request(requests.SetPriority([running, second, 99], 50, "ben"))
    assert [each.done for each in results] == ["", "has priority 50", ""]
    assert [each.error for each in results] == [
        f"job {running} is leased; only queued jobs can get another priority",
        "",
        "there is no job 99",
    ]
    with master.store.snapshot() as tx:
        page = read_job(tx, second)
    assert page["priority"] == 50
    assert [(each["kind"], each["detail"]) for each in page["events"]] == [
        ("priority", "50 instead of 0, by ben")
    ]
    master.finish(attic, running)
    assert master.take_grants() == [second]
    master.finish(attic, second)
    assert master.take_grants() == [first]
    [done] = master.request(requests.SetPriority([second], 0, "ben"))
    assert done.error == f"job {second} has already ended (succeeded)"


def test_another_priority_chooses_the_first_job_about_a_subject(master: Harness) -> None:
    master.define("backup")
    _, second = (master.submit("backup", subject="a").id for _ in range(2))
    master.request(requests.SetPriority([second], 1, "ben"))
    master.join("attic", 2)
    assert master.take_grants() == [second]


def test_a_priority_out_of_range_is_refused(master: Harness) -> None:
    master.define("backup")
    job_id = master.submit("backup").id
    with pytest.raises(BadRequest, match="101 is not between"):
        master.request(requests.SetPriority([job_id], 101, "ben"))


def test_an_action_whose_effect_is_there_already_says_so_and_changes_nothing(
    master: Harness,
) -> None:
    """Observed: `hold` of a held job said "held" and replaced the reason for which it was held."""
    master.define()
    queued = master.submit(hold=True).id
    [held] = master.request(requests.HoldJobs([queued]))
    assert (held.done, held.error, held.changed) == ("already held", "", False)
    [released] = master.request(requests.ReleaseJobs([queued]))
    assert (released.done, released.changed) == ("released", True)
    [released] = master.request(requests.ReleaseJobs([queued]))
    assert (released.done, released.error, released.changed) == ("is not held", "", False)
    # Pueue's `enqueue` starts delayed tasks, too.
    later = master.submit(not_before_ms=master.now.wall_ms + 60_000).id
    [released] = master.request(requests.ReleaseJobs([later]))
    assert not released.changed
    assert released.done == (
        f"is not held; it waits for its start time, `mythjobs set {later} --not-before now` "
        "starts it"
    )

    master.join("attic", 1)
    [running] = master.take_grants("attic")
    cancel = requests.CancelJobs([running], "anna")
    assert [each.done for each in master.request(cancel)] == ["stopping"]
    [stopping] = master.request(cancel)
    assert (stopping.done, stopping.error, stopping.changed) == ("already stopping", "", False)
