"""Ends that are told when the master has given their attempts up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.silent import SilentHouse


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SilentHouse]:
    house = SilentHouse(tmp_path)
    yield house
    house.close()


def given_up(house: SilentHouse, subject: str | None = None, **table: Any) -> int:
    """A job that was running on the attic, which nobody has begun again. The attic is there
    again, but has no room."""
    attic = house.join("attic")
    house.cellar()
    house.define(**table)
    job = house.submit(subject=subject).id
    assert house.granted() == [job]
    house.hear(attic, m.Started(job, 1, house.now.wall_ms))
    house.leave(attic)
    house.pass_time(2256)
    assert house.state(job) == "queued"
    house.ask(requests.SetMachine("attic", jobs=0))
    return job


def tell(house: SilentHouse, job: int, outcome: o.Outcome, n: int = 1, **more: Any) -> None:
    attic = house.come(held={(job, n): "ended"})
    house.end(attic, job, n, outcome, **more)
    house.leave(attic)


def tally(house: SilentHouse) -> dict[str, int]:
    with house.store.reading() as tx:
        tx.cursor.execute("SELECT state, jobs FROM tally WHERE jobs <> 0 AND command_id > 1")
        return dict(tx.cursor.fetchall())


def test_four_hours_of_work_are_not_thrown_away(house: SilentHouse) -> None:
    job = given_up(house)
    tell(house, job, o.Exited(0), output=[(5, 5, 0)])
    assert house.state(job) == "succeeded"
    attempt = house.attempt(job, 1)
    assert (attempt["evidence"], attempt["output"]) == ("observed late", "[[5, 5, 0]]")
    assert house.events(job)[-1] == "adopted"
    assert tally(house) == {"succeeded": 1}


def test_a_late_failure_is_adopted_too_if_it_is_one_for_good(house: SilentHouse) -> None:
    job = given_up(house)
    tell(house, job, o.Exited(3))
    assert house.state(job) == "failed"
    assert house.row(job)["reason"] == "exit code 3"


def test_a_late_failure_that_is_run_again_anyhow_leaves_it_queued(house: SilentHouse) -> None:
    job = given_up(house, retry={"failures": 1})
    tell(house, job, o.Exited(3))
    assert house.state(job) == "queued"
    assert house.events(job)[-1] == "late"


@pytest.mark.parametrize(
    "outcome", [o.Stopped("lease"), o.Breached("wall"), o.Lost("the machine restarted")]
)
def test_an_end_that_we_forced_changes_nothing(house: SilentHouse, outcome: o.Outcome) -> None:
    job = given_up(house)
    tell(house, job, outcome)
    assert house.state(job) == "queued"


def test_an_end_of_a_job_that_was_begun_again_changes_nothing(house: SilentHouse) -> None:
    job = given_up(house)
    house.ask(requests.SetMachine("cellar", jobs=1))
    assert house.granted("cellar") == [job]
    tell(house, job, o.Exited(0))
    assert house.state(job) == "leased"
    assert house.attempt(job, 1)["evidence"] == "presumed, and told too late"
    # Told again it is not news.
    before = house.events(job)
    tell(house, job, o.Exited(0))
    assert house.events(job) == before


def test_another_machine_cannot_tell_it(house: SilentHouse) -> None:
    job = given_up(house)
    house.hear(2, house.ended(job, 1, o.Exited(0)))
    assert house.state(job) == "queued"


def test_a_late_end_frees_its_subject_and_those_that_wait_for_it(house: SilentHouse) -> None:
    job = given_up(house, subject="/srv/news.ts")
    after = house.submit(after=[{"job": job}]).id
    sibling = house.submit(subject="/srv/news.ts").id
    tell(house, job, o.Exited(0))
    house.ask(requests.SetMachine("cellar", jobs=2))
    assert sorted(house.granted("cellar")) == [after, sibling]


def test_a_held_job_takes_its_late_end(house: SilentHouse) -> None:
    job = given_up(house, silence="hold")
    assert house.row(job)["hold"] == 1
    tell(house, job, o.Exited(0))
    assert (house.state(job), house.row(job)["hold"]) == ("succeeded", 0)


def test_a_cancelled_job_stays_cancelled(house: SilentHouse) -> None:
    job = given_up(house)
    house.ask(requests.CancelJobs([job], "anna"))
    tell(house, job, o.Exited(0))
    assert house.state(job) == "cancelled"


def test_numbers_of_nobody_are_told_stale_and_not_written_down(house: SilentHouse) -> None:
    attic = house.join("attic")
    house.hear(attic, m.Started(99, 1, 0), m.Heartbeat(2, [m.Held(98, 4, "running")]))
    assert {(each.job, each.n) for each in house.heard(m.Stale)} == {(99, 1), (98, 4)}
    assert house.events(99) == house.events(98) == []
