"""Ends that are told when the master has given their attempts up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.lease_harness import LeaseHarness


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    yield master
    master.close()


def given_up(master: LeaseHarness, subject: str | None = None, **table: Any) -> int:
    """A job that was running on the attic, which nobody has begun again. The attic is there
    again, but has no room."""
    attic = master.join("attic")
    master.cellar()
    master.define(**table)
    job = master.submit(subject=subject).id
    assert master.take_grants() == [job]
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    master.disconnect(attic)
    master.pass_time(2256)
    assert master.state(job) == "queued"
    master.request(requests.SetMachine("attic", jobs=0))
    return job


def tell(master: LeaseHarness, job: int, outcome: o.Outcome, n: int = 1, **more: Any) -> None:
    attic = master.come(held={(job, n): "ended"})
    master.end(attic, job, n, outcome, **more)
    master.disconnect(attic)


def tally(master: LeaseHarness) -> dict[str, int]:
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT state, jobs FROM tally WHERE jobs <> 0 AND command_id > 1")
        return dict(tx.cursor.fetchall())


def test_four_hours_of_work_are_not_thrown_away(master: LeaseHarness) -> None:
    job = given_up(master)
    tell(master, job, o.Exited(0), output=[(5, 5, 0)])
    assert master.state(job) == "succeeded"
    attempt = master.attempt(job, 1)
    assert (attempt["evidence"], attempt["output"]) == ("observed late", "[[5, 5, 0]]")
    assert master.events(job)[-1] == "adopted"
    assert tally(master) == {"succeeded": 1}


def test_a_late_failure_is_adopted_too_if_it_is_one_for_good(master: LeaseHarness) -> None:
    job = given_up(master)
    tell(master, job, o.Exited(3))
    assert master.state(job) == "failed"
    assert master.row(job)["reason"] == "exit code 3"


def test_a_late_failure_that_is_run_again_anyhow_leaves_it_queued(master: LeaseHarness) -> None:
    job = given_up(master, retry={"failures": 1})
    tell(master, job, o.Exited(3))
    assert master.state(job) == "queued"
    assert master.events(job)[-1] == "late"


@pytest.mark.parametrize(
    "outcome", [o.Stopped("lease"), o.Breached("wall"), o.Lost("the machine restarted")]
)
def test_an_end_that_we_forced_changes_nothing(master: LeaseHarness, outcome: o.Outcome) -> None:
    job = given_up(master)
    tell(master, job, outcome)
    assert master.state(job) == "queued"


def test_an_end_of_a_job_that_was_begun_again_changes_nothing(master: LeaseHarness) -> None:
    job = given_up(master)
    master.request(requests.SetMachine("cellar", jobs=1))
    assert master.take_grants("cellar") == [job]
    tell(master, job, o.Exited(0))
    assert master.state(job) == "leased"
    assert master.attempt(job, 1)["evidence"] == "presumed, and told too late"
    # Told again it is not news.
    before = master.events(job)
    tell(master, job, o.Exited(0))
    assert master.events(job) == before


def test_another_machine_cannot_tell_it(master: LeaseHarness) -> None:
    job = given_up(master)
    master.send_frame(2, master.ended(job, 1, o.Exited(0)))
    assert master.state(job) == "queued"


def test_a_late_end_frees_its_subject_and_those_that_wait_for_it(master: LeaseHarness) -> None:
    job = given_up(master, subject="/srv/news.ts")
    after = master.submit(after=[{"job": job}]).id
    sibling = master.submit(subject="/srv/news.ts").id
    tell(master, job, o.Exited(0))
    master.request(requests.SetMachine("cellar", jobs=2))
    assert sorted(master.take_grants("cellar")) == [after, sibling]


def test_a_held_job_takes_its_late_end(master: LeaseHarness) -> None:
    job = given_up(master, silence="hold")
    assert master.row(job)["hold"] == 1
    tell(master, job, o.Exited(0))
    assert (master.state(job), master.row(job)["hold"]) == ("succeeded", 0)


def test_a_cancelled_job_stays_cancelled(master: LeaseHarness) -> None:
    job = given_up(master)
    master.request(requests.CancelJobs([job], "anna"))
    tell(master, job, o.Exited(0))
    assert master.state(job) == "cancelled"


def test_numbers_of_nobody_are_told_stale_and_not_written_down(master: LeaseHarness) -> None:
    attic = master.join("attic")
    master.send_frame(attic, m.Started(99, 1, 0), m.Heartbeat(2, [m.HeldAttempt(98, 4, "running")]))
    assert {(each.job, each.n) for each in master.received(m.Stale)} == {(99, 1), (98, 4)}
    assert master.events(99) == master.events(98) == []
