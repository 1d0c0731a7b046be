"""Machines that are not heard of: what the master presumes, when, and what it never does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import BadRequest, Conflict, NoSuchMachine
from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.lease_harness import LeaseHarness

# 1.25 · 1,800 s + 5 s.
PRESUMED_S = 2255.0


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    yield master
    master.close()


def leased(master: LeaseHarness, **table: Any) -> tuple[int, int]:
    """The attic's connection, and a job that it has been granted. There is a cellar as well."""
    attic = master.join("attic")
    master.cellar()
    master.define(**table)
    job = master.submit().id
    assert master.take_grants("attic") == [job]
    return attic, job


def running(master: LeaseHarness, **table: Any) -> tuple[int, int]:
    attic, job = leased(master, **table)
    master.attempts["attic"][job, 1] = "running"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    return attic, job


def test_a_grant_says_what_silence_means_and_how_long_the_lease_is(master: LeaseHarness) -> None:
    master.join("attic")
    master.define("alone")
    master.submit("alone")
    master.cellar()
    for name, table in (
        ("usual", {}),
        ("long", {"silence": "rerun", "lease": "6h"}),
        ("held", {"silence": "hold"}),
        ("cheap", {"silence": "idempotent"}),
        ("kept", {"silence": "keep"}),
    ):
        master.advance(1)
        for job, n in list(master.attempts["attic"]):
            master.end(1, job, n, o.Exited(0))
        master.define(name, **table)
        master.submit(name)
        master.take_grants()
    said = {
        name: (each.silence, each.lease_s, each.start_by_s)
        for name, each in zip(
            ("alone", "usual", "long", "held", "cheap", "kept"), master.grants, strict=True
        )
    }
    assert said == {
        # One machine alone may run it: whoever waits for it waits for that one.
        "alone": ("keep", None, 900.0),
        "usual": ("rerun", 1800.0, 900.0),
        "long": ("rerun", 21600.0, 900.0),
        "held": ("hold", 1800.0, 900.0),
        "cheap": ("idempotent", None, 30.0),
        "kept": ("keep", None, 900.0),
    }


def test_it_is_begun_again_when_its_machine_is_silent_long_enough(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.pass_time(PRESUMED_S)
    assert master.state(job) == "running"
    master.pass_time(0.002)
    row = master.row(job)
    assert (row["state"], row["losses"], row["failures"]) == ("queued", 1, 0)
    assert master.attempt(job, 1)["evidence"] == "presumed: silent"
    assert "no heartbeat from attic" in row["reason"]
    assert master.events(job) == ["requeued"]


def test_a_heartbeat_that_holds_it_lets_the_master_wait_again(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.advance(2000)
    master.heartbeat(attic)
    master.disconnect(attic)
    master.pass_time(2000)
    assert master.state(job) == "running"
    master.pass_time(PRESUMED_S - 2000 + 1)
    assert master.state(job) == "queued"


def test_a_heartbeat_that_does_not_hold_it_renews_nothing(master: LeaseHarness) -> None:
    # A grant that the machine has not journalled yet: not missing, but not held either.
    attic, job = leased(master)
    master.attempts["attic"].clear()
    master.advance(1000)
    master.send_frame(attic, m.Heartbeat(7, []), seen=0)
    master.disconnect(attic)
    master.pass_time(PRESUMED_S - 1000 + 1)
    assert master.state(job) == "queued"


def test_what_arrived_before_the_master_looked_is_read_first(master: LeaseHarness) -> None:
    # The master stood still for an hour; then it reads what has come, and only then looks.
    attic, job = running(master)
    master.now = type(master.now)(*(each + 3_600_000 for each in master.now))
    tick = requests.LeaseTick(master.now.steady_ms)
    beat = m.Heartbeat(9, [m.HeldAttempt(job, 1, "running")])
    master.turn(tick, requests.FrameReceived(attic, m.AgentFrame(9, 1, 0, [beat])))
    assert master.state(job) == "running"


def test_nobody_is_presumed_over_by_a_turn_that_read_nothing(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance(100_000)
    assert master.state(job) == "running"
    # What was read an hour ago proves nothing about now.
    master.turn(requests.LeaseTick(master.now.steady_ms - 99_000_000))
    assert master.state(job) == "running"


def test_a_restart_of_the_master_waits_from_its_start(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance(2000)
    master.restart()
    master.pass_time(PRESUMED_S)
    assert master.state(job) == "running"
    master.pass_time(1)
    assert master.state(job) == "queued"


@pytest.mark.parametrize(
    "silence, after_s, state, hold",
    [("hold", PRESUMED_S, "queued", 1), ("idempotent", 60.0, "queued", 0)],
)
def test_each_policy_has_its_time(
    master: LeaseHarness, silence: str, after_s: float, state: str, hold: int
) -> None:
    attic, job = running(master, silence=silence)
    master.disconnect(attic)
    master.pass_time(after_s)
    assert master.state(job) == "running"
    master.pass_time(0.002)
    row = master.row(job)
    assert (row["state"], row["hold"]) == (state, hold)


def test_keep_waits_for_ever(master: LeaseHarness) -> None:
    attic, job = running(master, silence="keep")
    master.disconnect(attic)
    master.pass_time(10_000_000)
    assert master.state(job) == "running"


def test_a_machine_that_cannot_end_a_job_with_its_lease_is_waited_for(master: LeaseHarness) -> None:
    master.join("attic", can=m.CAPABILITIES - {"leases"})
    master.cellar()
    master.define()
    job = master.submit().id
    master.take_grants()
    master.disconnect(1)
    master.pass_time(10_000_000)
    assert master.state(job) == "leased"


def test_a_job_that_was_to_be_stopped_is_cancelled_with_its_machine(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.request(requests.CancelJobs([job], "anna"))
    master.disconnect(attic)
    master.pass_time(PRESUMED_S + 1)
    assert master.state(job) == "cancelled"


def test_a_job_that_was_lost_three_times_in_a_row_is_held(master: LeaseHarness) -> None:
    attic, job = running(master)
    for n in (1, 2, 3):
        if n > 1:
            master.attempts["attic"] = {}
            attic = master.come()
            assert master.take_grants() == [job]
        master.disconnect(attic)
        master.pass_time(PRESUMED_S + 1)
    row = master.row(job)
    assert (row["state"], row["hold"], row["losses"]) == ("queued", 1, 3)
    assert row["reason_code"] == "lost_often"


# A new boot of the machine.


def test_a_new_boot_id_ends_what_the_machine_had(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.come(boot="another", held={})
    attempt = master.attempt(job, 1)
    assert attempt["evidence"] == "observed: rebooted"
    # Nothing keeps it from running again at once.
    assert master.take_grants() == [job]
    assert master.row(job)["losses"] == 1


def test_a_boot_id_outlives_the_master(master: LeaseHarness) -> None:
    _, job = running(master)
    master.restart()
    master.come(boot="another", held={})
    assert master.attempt(job, 1)["evidence"] == "observed: rebooted"


def test_what_a_new_boot_has_the_end_of_is_waited_for(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    attic = master.come(boot="another", held={(job, 1): "ended"})
    assert master.state(job) == "running"
    master.end(attic, job, 1, o.Exited(0))
    assert master.state(job) == "succeeded"


def test_a_hello_of_an_old_boot_alone_ends_nothing(master: LeaseHarness) -> None:
    # It was long under way; who sent it is not there any more, and sends no heartbeat.
    attic, job = running(master)
    master.disconnect(attic)
    hello = m.Hello(1, "key of attic", "", "", "attic", "older", "i", 2, can=sorted(m.CAPABILITIES))
    master.request(requests.Attach(hello, True, 99))
    assert master.state(job) == "running"


# A person's word.


def test_a_machine_that_is_declared_dead_gives_its_jobs_back(master: LeaseHarness) -> None:
    attic, job = running(master, silence="keep")
    with pytest.raises(Conflict):
        master.request(requests.DeclareDead("attic", "anna", "burnt down"))
    master.disconnect(attic)
    with pytest.raises(BadRequest):
        master.request(requests.DeclareDead("attic", "anna", " "))
    with pytest.raises(NoSuchMachine):
        master.request(requests.DeclareDead("shed", "anna", "burnt down"))
    assert master.request(requests.DeclareDead("attic", "anna", "burnt down")) == [job]
    assert master.state(job) == "queued"
    assert "burnt down" in master.row(job)["reason"]
    assert master.attempt(job, 1)["evidence"] == "presumed: declared_dead"
    assert master.events(job) == ["declared_dead", "requeued"]


# Connections that break.


def test_a_grant_that_the_machine_never_had_is_offered_again_and_counts_from_then(
    master: LeaseHarness,
) -> None:
    attic, job = leased(master)
    master.disconnect(attic)
    master.advance(2000)
    attic = master.come(held={})
    [again] = master.received(m.Grant)
    assert (again.job, again.n, again.lease_s) == (job, 1, 1800.0)
    master.attempts["attic"][job, 1] = "leased"
    # The machine counts from its new heartbeat, so the note of the master is a new one too.
    master.disconnect(attic)
    master.pass_time(2000)
    assert master.state(job) == "leased"
    master.pass_time(PRESUMED_S - 2000 + 1)
    assert master.state(job) == "queued"


def test_what_has_started_and_is_not_known_any_more_is_lost(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.come(held={})
    assert master.attempt(job, 1)["evidence"] == "observed: forgotten"
    assert master.row(job)["losses"] == 1


def test_a_missing_attempt_is_not_concluded_from_before_its_grant_was_seen(
    master: LeaseHarness,
) -> None:
    attic, job = leased(master)
    master.send_frame(attic, m.Heartbeat(5, []), seen=0)
    assert master.state(job) == "leased"
    master.send_frame(attic, m.Heartbeat(6, []), seen=1)
    assert master.attempt(job, 1)["over_ms"] is not None
    assert master.row(job)["losses"] == 0


def test_what_the_machine_holds_without_a_right_is_excepted_and_stopped(
    master: LeaseHarness,
) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.pass_time(PRESUMED_S + 1)
    attic = master.come(held={(job, 1): "running"})
    [renew] = master.received(m.Renew)[-1:]
    assert renew.excepted == [(job, 1)]
    assert m.Stale(job, 1) in master.received(m.Stale)
    assert "stale" in master.events(job)


def test_a_connection_that_ends_in_the_turn_it_began_is_not_kept(master: LeaseHarness) -> None:
    # Seen: the end was handled before the beginning, and the machine stayed attached.
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    master.turn(requests.Attach(hello, True, 7), requests.Detached(7))
    [machine] = master.core.state.machines.values()
    assert machine.connection is None


def test_a_machine_that_comes_back_in_one_turn_is_connected(master: LeaseHarness) -> None:
    attic = master.join("attic")
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    master.turn(requests.Detached(attic), requests.Attach(hello, True, 8))
    [machine] = master.core.state.machines.values()
    assert machine.connection == 8


@pytest.mark.parametrize(
    "policy, says",
    [
        ("rerun", "run again after 37 min 35 s of silence"),
        ("hold", "held after 37 min 35 s of silence"),
        ("keep", "`mythjobs machine dead attic`"),
        ("idempotent", "run again after 1 min of silence"),
    ],
)
def test_a_job_is_shown_silent_after_20_s_and_what_becomes_of_it(
    master: LeaseHarness, policy: str, says: str
) -> None:
    attic, job = running(master, silence=policy)
    master.disconnect(attic)
    master.advance(20)
    assert master.explain(job)["sentence"] == "running on attic"
    master.advance(1)
    assert "running on attic, no heartbeat for 21.0 s" in master.explain(job)["sentence"]
    assert says in master.explain(job)["sentence"]
