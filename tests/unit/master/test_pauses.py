"""Pauses: a user freezes a running job, which is held if it is lost meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import JobActionResult
from tests.unit.master.lease_harness import LeaseHarness

ATTIC = 1


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    master.join("attic")
    yield master
    master.close()


def test_a_user_pauses_and_resumes_a_running_job(master: LeaseHarness) -> None:
    job = master.start_job()
    [paused] = master.request(requests.FreezeJobs([job], True))
    assert paused == JobActionResult(job, "leased", "pausing", "")
    [resumed] = master.request(requests.FreezeJobs([job], False))
    assert (resumed.done, resumed.changed) == ("is not paused by a user", False)
    # The pause may be on its way, so the resume was sent all the same.
    sent = [m.Freeze(job, 1, "user", each) for each in (True, False)]
    assert master.received(m.Freeze) == sent
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    assert master.core.state.machines[1].live_attempts[job].frozen_by == ("user",)
    [again] = master.request(requests.FreezeJobs([job], True))
    assert (again.done, again.error, again.changed) == ("is paused already", "", False)
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user", "window"]))
    [resumed] = master.request(requests.FreezeJobs([job], False))
    assert resumed.done == "resuming; it stays frozen by window"
    # Seen: "frozen on attic by user, window", which tells no beginner what to do.
    assert master.explain(job)["sentence"] == (
        f"frozen on attic until `mythjobs resume {job}` and until its run window opens"
    )
    master.send_frame(ATTIC, m.Frozen(job, 1, ["pressure"]))
    assert master.explain(job)["sentence"] == (
        "frozen on attic while other programs need the machine"
    )
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user", "window"]))
    assert master.received(m.Freeze) == sent


def test_a_pause_that_is_impossible_returns_an_error(master: LeaseHarness) -> None:
    master.define()
    waiting = master.submit(hold=True).id
    running = master.submit().id
    master.take_grants()
    answers = master.request(requests.FreezeJobs([waiting, 99], True))
    assert answers[0].error.endswith("not running; `mythjobs hold` keeps it from starting")
    [answer] = master.request(requests.FreezeJobs([waiting], False))
    assert answer.error.endswith(f"if it is held, `mythjobs release {waiting}` lets it run")
    assert "no job 99" in answers[1].error
    master.disconnect(ATTIC)
    [away] = master.request(requests.FreezeJobs([running], True))
    assert "attic is not connected" in away.error


def test_a_lost_job_is_held_if_paused_by_a_user_but_not_by_a_window(master: LeaseHarness) -> None:
    master.define()
    for holder, held in (("user", True), ("window", False)):
        job = master.submit().id
        assert master.take_grants() == [job]
        master.send_frame(ATTIC, m.Frozen(job, 1, [holder]))
        master.end(ATTIC, job, 1, o.Lost("the reaper died"))
        assert master.take_grants() == ([] if held else [job])
        assert (master.explain(job)["code"] == "held") is held
    master.request(requests.ReleaseJobs([job - 1]))
    assert master.take_grants() == [job - 1]


def test_a_paused_job_is_held_when_it_is_stopped_at_the_end_of_its_lease(
    master: LeaseHarness,
) -> None:
    # Seen in the simulation (seed 300048): the stop thaws the job, which is no resume.
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.send_frame(ATTIC, m.Frozen(job, 1, []))
    stopped: dict[str, str | int | bool] = {"kind": "stopped", "by": "lease"}
    master.send_frame(ATTIC, m.Ended(job, 1, stopped, 1000, 2000, paused=True))
    assert master.take_grants() == []
    assert master.explain(job)["code"] == "held"


def test_a_paused_job_is_held_when_its_machine_reboots(master: LeaseHarness) -> None:
    # Seen: the job ran again, because the handshake forgot the pause before the first heartbeat
    # of the new boot ended the attempt.
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.disconnect(ATTIC)
    master.reconnect(boot="second boot", held={})
    assert master.take_grants() == []
    assert master.explain(job)["code"] == "held"


def test_a_paused_job_is_held_when_its_machine_reboots_and_reports_the_end_itself(
    master: LeaseHarness,
) -> None:
    # Seen in the simulation (seed 700007): the first heartbeat of the new boot lists the attempt as
    # ended, and the master took that for a machine that had resumed it.
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.disconnect(ATTIC)
    connection = master.reconnect(boot="second boot", held={(job, 1): "ended"})
    master.end(connection, job, 1, o.Lost("the machine restarted"))
    assert master.take_grants() == []
    assert master.explain(job)["code"] == "held"


def test_a_paused_job_is_held_when_master_and_machine_reboot(master: LeaseHarness) -> None:
    # The usual case: both run on one machine.
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.restart()
    master.reconnect(boot="second boot", held={})
    assert master.take_grants() == []
    assert master.explain(job)["code"] == "held"


def test_a_resumed_job_runs_again_after_a_restart_of_master_and_machine(
    master: LeaseHarness,
) -> None:
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.send_frame(ATTIC, m.Frozen(job, 1, []))
    master.restart()
    master.reconnect(boot="second boot", held={})
    assert master.take_grants() == [job]


def test_a_resume_while_disconnected_is_seen_at_the_next_heartbeat(master: LeaseHarness) -> None:
    job = master.start_job()
    master.send_frame(ATTIC, m.Frozen(job, 1, ["user"]))
    master.disconnect(ATTIC)
    # A machine reports at each connection what is frozen, and nothing of the rest.
    connection = master.reconnect(held={(job, 1): "running"})
    assert master.explain(job)["code"] == "running"
    master.disconnect(connection)
    master.restart()
    connection = master.reconnect(held={(job, 1): "running"})
    master.end(connection, job, 1, o.Lost("the reaper died"))
    assert master.take_grants() == [job]
