"""The jobs of a batch wait for its time, and are cancelled at its deadline, as single ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers import batch_file
from mythjobs.model.command import Command
from mythjobs.protocol.requests import BatchSubmit
from mythjobs.store.invariants.run import check
from mythjobs.store.writes import commands
from tests.unit.master.house import NOON, House


def _batch(
    house: House, jobs: int, *, hold: bool = False, subject: str | None = None, **times: Any
) -> list[int]:
    with house.store.reading() as tx:
        defined = commands.by_name(tx, "flag")
    assert defined is not None
    rows = [requests.BatchRow("{}", subject and f"{subject} {n}") for n in range(jobs)]
    place = house.ask(
        requests.BatchSlice(
            None, "flag", defined.revision_id, "anna", 0, rows, 0, hold, "", True, **times
        )
    )
    # A slice of upkeep a turn.
    for _ in range(jobs // 500):
        house.turn()
    return list(range(place.first, place.first + jobs))


def _is_whole(house: House) -> None:
    with house.store.reading() as tx:
        assert check(tx) == []


@pytest.mark.parametrize("subject", [None, "news"])
def test_a_batch_waits_for_its_time(house: House, subject: str | None) -> None:
    house.join("attic", 9)
    house.define()
    jobs = _batch(house, 3, not_before_ms=NOON + 60_000, subject=subject)
    assert house.why(jobs[0])["code"] == "not_before"
    house.later(59)
    assert house.granted() == []
    house.later(1)
    assert house.granted() == jobs
    _is_whole(house)


def test_of_a_large_batch_a_part_becomes_due_in_each_turn(house: House) -> None:
    house.define()
    jobs = _batch(house, 1200, not_before_ms=NOON + 60_000)
    house.later(60)
    assert house.why(jobs[-1])["code"] == "not_before"
    for _ in range(2):
        assert house.core.memory.next_due_ms is not None
        assert house.core.memory.next_due_ms <= house.now.wall_ms
        house.turn()
    assert house.why(jobs[-1])["code"] == "no_machine"
    _is_whole(house)


def test_what_of_a_batch_has_not_started_by_its_deadline_is_cancelled(house: House) -> None:
    house.join("attic", 1)
    house.define()
    jobs = _batch(house, 3, deadline_ms=NOON + 60_000)
    assert house.granted() == jobs[:1]
    house.later(60)
    assert [house.state(each) for each in jobs[1:]] == ["cancelled", "cancelled"]
    assert house.why(jobs[1])["code"] == "deadline_passed"
    _is_whole(house)


def test_a_deadline_that_came_before_the_batch_was_ready_is_kept_too(house: House) -> None:
    house.define()
    jobs = _batch(house, 3, deadline_ms=NOON - 1)
    house.turn()
    assert {house.state(each) for each in jobs} == {"cancelled"}
    _is_whole(house)


def test_a_held_batch_is_released_to_wait_for_its_time(house: House) -> None:
    house.join("attic", 9)
    house.define()
    jobs = _batch(house, 2, hold=True, not_before_ms=NOON + 60_000)
    assert house.why(jobs[0])["code"] == "held"
    house.ask(requests.ReleaseJobs(jobs))
    assert house.why(jobs[0])["code"] == "not_before"
    house.later(60)
    assert house.granted() == jobs


def test_a_deadline_before_the_time_of_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_text("{}")
    header = BatchSubmit("flag", not_before_ms=NOON, deadline_ms=NOON - 1)
    with pytest.raises(BadRequest, match="its deadline is before the time"):
        batch_file.count(path, Command("flag", argv=("/bin/true",)), header)


@pytest.mark.parametrize("held", [False, True])
def test_a_job_is_cancelled_while_its_batch_is_made_ready(house: House, held: bool) -> None:
    house.define()
    with house.store.reading() as tx:
        defined = commands.by_name(tx, "flag")
    assert defined is not None
    rows = [requests.BatchRow("{}", None) for _ in range(700)]
    place = house.ask(
        requests.BatchSlice(None, "flag", defined.revision_id, "anna", 0, rows, 0, held, "", True)
    )
    last = place.first + 699
    [acted] = house.ask(requests.CancelJobs([last], "anna"))
    assert acted.done == "cancelled"
    house.turn()
    assert house.state(last) == "cancelled"
    _is_whole(house)


@pytest.mark.parametrize(
    "header, said",
    [
        (BatchSubmit("flag", priority=101), "priority 101 is not between"),
        (BatchSubmit("flag", comment="a\0b"), "NUL"),
        (BatchSubmit("flag", comment="a" * 10_001), "at most 10000 characters"),
    ],
)
def test_a_batch_is_looked_at_as_a_single_job_is(
    tmp_path: Path, header: BatchSubmit, said: str
) -> None:
    path = tmp_path / "batch"
    path.write_text("{}\n")
    with pytest.raises(BadRequest, match=said):
        batch_file.count(path, Command("flag", argv=("/bin/true",)), header)
