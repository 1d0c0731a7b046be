"""Jobs that are run again: when, how often, and what waits with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import Acted
from tests.unit.master.silent import SilentHouse

ATTIC = 1


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SilentHouse]:
    house = SilentHouse(tmp_path)
    house.join("attic")
    yield house
    house.close()


def fail(house: SilentHouse, job: int, n: int, code: int = 1, **more: Any) -> None:
    assert house.granted() == [job]
    house.end(ATTIC, job, n, o.Exited(code), **more)


def test_a_failure_is_run_again_after_its_backoff_and_then_fails(house: SilentHouse) -> None:
    house.define(retry={"failures": 1, "backoff": "1m"})
    job = house.submit().id
    fail(house, job, 1)
    row = house.row(job)
    assert (row["state"], row["failures"], row["reason_code"]) == ("queued", 1, "retry")
    house.later(44)
    assert house.granted() == []
    house.later(32)
    fail(house, job, 2)
    row = house.row(job)
    assert (row["state"], row["failures"], row["attempts"]) == ("failed", 2, 2)


def test_the_turn_that_a_retry_waits_for_comes_by_itself(house: SilentHouse) -> None:
    house.define(retry={"failures": 1, "backoff": "1m"})
    job = house.submit().id
    fail(house, job, 1)
    due_ms = house.core.memory.next_due_ms
    assert due_ms == house.row(job)["not_before_ms"]


def test_exit_code_75_is_tried_later_however_often(house: SilentHouse) -> None:
    house.define(retry={"failures": 1})
    job = house.submit().id
    for n in range(1, 6):
        fail(house, job, n, code=75)
        assert house.row(job)["failures"] == 0
        house.later(3600)
    house.end(ATTIC, job, 6, o.Exited(0))
    assert house.state(job) == "succeeded"


def test_an_output_that_says_later_puts_the_whole_command_off(house: SilentHouse) -> None:
    house.define(retry={"later": "NAS offline"})
    job, other = house.queue(2)
    third = house.submit().id
    assert house.granted() == [job, other]
    house.end(ATTIC, job, 1, o.Exited(1), later="NAS offline")
    house.end(ATTIC, other, 1, o.Exited(0))
    # The third would have room, and waits with its command; `why` says for what.
    assert house.granted() == []
    why = house.why(third)
    assert why["code"] == "put_off"
    assert "NAS offline" in why["sentence"]
    # A job of another command does not wait.
    house.define("backup")
    assert house.granted() == []
    free = house.submit("backup").id
    assert house.granted() == [free]
    house.later(76)
    assert house.granted()


def test_a_command_that_is_put_off_still_is_after_a_restart(house: SilentHouse) -> None:
    house.define(retry={"later": "NAS offline"})
    job = house.submit().id
    assert house.granted() == [job]
    house.end(ATTIC, job, 1, o.Exited(1), later="NAS offline")
    house.restart()
    [put_off] = house.core.memory.put_off.values()
    assert "NAS offline" in put_off.reason
    house.come(held={})
    assert house.granted() == []
    house.later(76)
    assert house.granted() == [job]
    assert house.core.memory.put_off == {}


def test_a_window_that_closed_uses_no_retry(house: SilentHouse) -> None:
    house.define(retry={"failures": 1})
    job = house.submit().id
    assert house.granted() == [job]
    house.end(ATTIC, job, 1, o.Stopped("window"))
    row = house.row(job)
    assert (row["failures"], row["losses"], row["attempts"]) == (0, 0, 2)


def test_a_window_that_closed_for_good_fails_the_job(house: SilentHouse) -> None:
    house.define(retry={"failures": 1})
    job = house.submit().id
    assert house.granted() == [job]
    house.end(ATTIC, job, 1, o.Stopped("window_closed"))
    row = house.row(job)
    assert (row["state"], row["reason_code"]) == ("failed", "window_closed")


def test_what_was_given_back_is_queued_at_no_cost(house: SilentHouse) -> None:
    house.define(retry={"failures": 1})
    job = house.submit().id
    assert house.granted() == [job]
    house.held["attic"].clear()
    house.hear(ATTIC, m.Returned(job, 1, "the grant came too late"))
    assert house.granted() == [job]
    row = house.row(job)
    assert (row["failures"], row["losses"], row["attempts"]) == (0, 0, 2)


def test_a_breach_that_holds_waits_for_a_person(house: SilentHouse) -> None:
    house.define(limits={"wall": "1h", "on_breach": "hold"})
    job = house.submit().id
    assert house.granted() == [job]
    house.end(ATTIC, job, 1, o.Breached("wall"))
    row = house.row(job)
    assert (row["state"], row["hold"], row["reason_code"]) == ("queued", 1, "breached")
    house.ask(requests.ReleaseJobs([job]))
    assert house.granted() == [job]


# Deadlines.


def test_a_job_that_has_not_started_by_its_deadline_is_cancelled(house: SilentHouse) -> None:
    house.define()
    house.ask(requests.SetMachine("attic", jobs=0))
    job = house.submit(deadline_ms=house.now.wall_ms + 60_000).id
    after = house.submit(after=[{"job": job}]).id
    house.later(59)
    assert house.state(job) == "queued"
    house.later(1)
    row = house.row(job)
    assert (row["state"], row["reason_code"]) == ("cancelled", "deadline_passed")
    assert house.state(after) == "cancelled"
    assert house.core.memory.next_due_ms is None


def test_a_job_that_had_started_in_time_is_run_again_past_its_deadline(house: SilentHouse) -> None:
    house.define(retry={"failures": 1, "backoff": "10m"})
    job = house.submit(deadline_ms=house.now.wall_ms + 60_000).id
    assert house.granted() == [job]
    house.hear(ATTIC, m.Started(job, 1, house.now.wall_ms))
    house.end(ATTIC, job, 1, o.Exited(1))
    house.later(70)
    assert house.state(job) == "queued"
    # It is passed, and asked for no more.
    assert (house.core.memory.next_due_ms or 0) > house.now.wall_ms
    house.later(700)
    assert house.granted() == [job]


# Standing still.


def test_a_person_pauses_and_resumes_a_running_job(house: SilentHouse) -> None:
    house.define()
    job = house.submit().id
    house.granted()
    [paused] = house.ask(requests.FreezeJobs([job], True))
    assert paused == Acted(job, "leased", "pausing", "")
    house.hear(ATTIC, m.Frozen(job, 1, ["user"]))
    assert house.core.memory.machines[1].live[job].frozen == ("user",)
    house.ask(requests.FreezeJobs([job], False))
    assert house.heard(m.Freeze) == [
        m.Freeze(job, 1, "user", True),
        m.Freeze(job, 1, "user", False),
    ]


def test_what_cannot_be_paused_is_said(house: SilentHouse) -> None:
    house.define()
    waiting = house.submit(hold=True).id
    running = house.submit().id
    house.granted()
    answers = house.ask(requests.FreezeJobs([waiting, 99], True))
    assert "not running" in answers[0].error
    assert "no job 99" in answers[1].error
    house.leave(ATTIC)
    [away] = house.ask(requests.FreezeJobs([running], True))
    assert "attic is not connected" in away.error


def test_a_paused_job_that_is_lost_is_held_and_one_that_its_hours_froze_is_not(
    house: SilentHouse,
) -> None:
    house.define()
    for holder, held in (("user", True), ("window", False)):
        job = house.submit().id
        assert house.granted() == [job]
        house.hear(ATTIC, m.Frozen(job, 1, [holder]))
        house.end(ATTIC, job, 1, o.Lost("the reaper died"))
        assert house.granted() == ([] if held else [job])
        assert (house.why(job)["code"] == "held") is held
    house.ask(requests.ReleaseJobs([job - 1]))
    assert house.granted() == [job - 1]
