"""Lease expiry of silent machines, per lease policy; reboots, reconnects, declared deaths."""

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
    """Return attic's connection and a job granted to it; a second machine exists."""
    attic = master.join("attic")
    master.join_full_cellar()
    master.define(**table)
    job = master.submit().id
    assert master.take_grants("attic") == [job]
    return attic, job


def running(master: LeaseHarness, **table: Any) -> tuple[int, int]:
    attic, job = leased(master, **table)
    master.attempts["attic"][job, 1] = "running"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    return attic, job


def test_a_grant_has_the_lease_policy_and_duration(master: LeaseHarness) -> None:
    master.join("attic")
    master.define("alone")
    master.submit("alone")
    master.join_full_cellar()
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
    granted = {
        name: (each.silence, each.lease_s, each.start_by_s)
        for name, each in zip(
            ("alone", "usual", "long", "held", "cheap", "kept"), master.grants, strict=True
        )
    }
    assert granted == {
        # Only one machine may run the command, so waiting for another is useless.
        "alone": ("keep", None, 900.0),
        "usual": ("rerun", 1800.0, 900.0),
        "long": ("rerun", 21600.0, 900.0),
        "held": ("hold", 1800.0, 900.0),
        "cheap": ("idempotent", None, 30.0),
        "kept": ("keep", None, 900.0),
    }


def test_an_expired_lease_queues_the_job_again(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance_and_expire(PRESUMED_S)
    assert master.state(job) == "running"
    master.advance_and_expire(0.002)
    row = master.row(job)
    assert (row["state"], row["losses"], row["failures"]) == ("queued", 1, 0)
    assert master.attempt(job, 1)["evidence"] == "presumed: silent"
    assert "no heartbeat from attic" in row["reason"]
    assert master.events(job) == ["requeued"]


def test_a_heartbeat_that_lists_the_attempt_renews_the_lease(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.advance(2000)
    master.heartbeat(attic)
    master.disconnect(attic)
    master.advance_and_expire(2000)
    assert master.state(job) == "running"
    master.advance_and_expire(PRESUMED_S - 2000 + 1)
    assert master.state(job) == "queued"


def test_a_heartbeat_without_the_attempt_renews_nothing(master: LeaseHarness) -> None:
    # A grant that is not journalled yet is neither missing nor held.
    attic, job = leased(master)
    master.attempts["attic"].clear()
    master.advance(1000)
    master.send_frame(attic, m.Heartbeat(7, []), seen=0)
    master.disconnect(attic)
    master.advance_and_expire(PRESUMED_S - 1000 + 1)
    assert master.state(job) == "queued"


def test_queued_frames_are_handled_before_expiry(master: LeaseHarness) -> None:
    # The master was stopped for an hour. It handles queued frames before expiry.
    attic, job = running(master)
    master.now = type(master.now)(*(each + 3_600_000 for each in master.now))
    tick = requests.LeaseTick(master.now.steady_ms)
    beat = m.Heartbeat(9, [m.HeldAttempt(job, 1, "running")])
    master.turn(tick, requests.FrameReceived(attic, m.AgentFrame(9, 1, 0, [beat])))
    assert master.state(job) == "running"


def test_no_lease_expires_in_a_turn_without_a_lease_tick(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance(100_000)
    assert master.state(job) == "running"
    # Frames received up to an hour ago do not prove silence since then.
    master.turn(requests.LeaseTick(master.now.steady_ms - 99_000_000))
    assert master.state(job) == "running"


def test_leases_count_from_a_restart_of_the_master(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance(2000)
    master.restart()
    master.advance_and_expire(PRESUMED_S)
    assert master.state(job) == "running"
    master.advance_and_expire(1)
    assert master.state(job) == "queued"


@pytest.mark.parametrize(
    "silence, after_s, state, hold",
    [("hold", PRESUMED_S, "queued", 1), ("idempotent", 60.0, "queued", 0)],
)
def test_each_lease_policy_has_its_own_duration(
    master: LeaseHarness, silence: str, after_s: float, state: str, hold: int
) -> None:
    attic, job = running(master, silence=silence)
    master.disconnect(attic)
    master.advance_and_expire(after_s)
    assert master.state(job) == "running"
    master.advance_and_expire(0.002)
    row = master.row(job)
    assert (row["state"], row["hold"]) == (state, hold)


def test_keep_never_expires(master: LeaseHarness) -> None:
    attic, job = running(master, silence="keep")
    master.disconnect(attic)
    master.advance_and_expire(10_000_000)
    assert master.state(job) == "running"


def test_a_lease_does_not_expire_if_its_machine_cannot_enforce_it(master: LeaseHarness) -> None:
    master.join("attic", can=m.CAPABILITIES - {"leases"})
    master.join_full_cellar()
    job = master.start_job()
    master.disconnect(1)
    master.advance_and_expire(10_000_000)
    assert master.state(job) == "leased"


def test_a_job_with_a_stop_request_is_cancelled_at_expiry(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.request(requests.CancelJobs([job], "anna"))
    master.disconnect(attic)
    master.advance_and_expire(PRESUMED_S + 1)
    assert master.state(job) == "cancelled"


def test_a_job_lost_three_times_in_a_row_is_held(master: LeaseHarness) -> None:
    attic, job = running(master)
    for n in (1, 2, 3):
        if n > 1:
            master.attempts["attic"] = {}
            attic = master.reconnect()
            assert master.take_grants() == [job]
        master.disconnect(attic)
        master.advance_and_expire(PRESUMED_S + 1)
    row = master.row(job)
    assert (row["state"], row["hold"], row["losses"]) == ("queued", 1, 3)
    assert row["reason_code"] == "lost_often"


# Reboots.


def test_a_new_boot_id_ends_earlier_attempts(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.reconnect(boot="another", held={})
    attempt = master.attempt(job, 1)
    assert attempt["evidence"] == "observed: rebooted"
    # The job runs again at once.
    assert master.take_grants() == [job]
    assert master.row(job)["losses"] == 1


def test_the_boot_id_survives_a_restart_of_the_master(master: LeaseHarness) -> None:
    _, job = running(master)
    master.restart()
    master.reconnect(boot="another", held={})
    assert master.attempt(job, 1)["evidence"] == "observed: rebooted"


def test_an_end_from_before_a_reboot_is_still_accepted(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    attic = master.reconnect(boot="another", held={(job, 1): "ended"})
    assert master.state(job) == "running"
    master.end(attic, job, 1, o.Exited(0))
    assert master.state(job) == "succeeded"


def test_a_hello_with_an_old_boot_id_ends_nothing(master: LeaseHarness) -> None:
    # A delayed hello: its sender is gone and sends no heartbeat.
    attic, job = running(master)
    master.disconnect(attic)
    hello = m.Hello(1, "key of attic", "", "", "attic", "older", "i", 2, can=sorted(m.CAPABILITIES))
    master.request(requests.Attach(hello, True, 99))
    assert master.state(job) == "running"


# Machines declared dead.


def test_declaring_a_machine_dead_queues_its_jobs_again(master: LeaseHarness) -> None:
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


# Lost connections.


def test_a_lost_grant_is_sent_again_with_a_renewed_lease(master: LeaseHarness) -> None:
    attic, job = leased(master)
    master.disconnect(attic)
    master.advance(2000)
    attic = master.reconnect(held={})
    [again] = master.received(m.Grant)
    assert (again.job, again.n, again.lease_s) == (job, 1, 1800.0)
    master.attempts["attic"][job, 1] = "leased"
    # The lease counts from the new heartbeat, at the machine and at the master.
    master.disconnect(attic)
    master.advance_and_expire(2000)
    assert master.state(job) == "leased"
    master.advance_and_expire(PRESUMED_S - 2000 + 1)
    assert master.state(job) == "queued"


def test_a_started_attempt_that_its_machine_forgot_is_lost(master: LeaseHarness) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.reconnect(held={})
    assert master.attempt(job, 1)["evidence"] == "observed: forgotten"
    assert master.row(job)["losses"] == 1


def test_an_attempt_is_not_missing_before_its_grant_is_journalled(master: LeaseHarness) -> None:
    attic, job = leased(master)
    master.send_frame(attic, m.Heartbeat(5, []), seen=0)
    assert master.state(job) == "leased"
    master.send_frame(attic, m.Heartbeat(6, []), seen=1)
    assert master.attempt(job, 1)["over_ms"] is not None
    assert master.row(job)["losses"] == 0


def test_an_attempt_held_after_its_lease_expired_is_rejected_and_stopped(
    master: LeaseHarness,
) -> None:
    attic, job = running(master)
    master.disconnect(attic)
    master.advance_and_expire(PRESUMED_S + 1)
    attic = master.reconnect(held={(job, 1): "running"})
    [renew] = master.received(m.Renew)[-1:]
    assert renew.excepted == [(job, 1)]
    assert m.Stale(job, 1) in master.received(m.Stale)
    assert "stale" in master.events(job)


def test_attach_and_detach_in_one_turn_leave_the_machine_detached(master: LeaseHarness) -> None:
    # Seen: the detach was handled before the attach, and the machine stayed attached.
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    master.turn(requests.Attach(hello, True, 7), requests.Detached(7))
    [machine] = master.core.state.machines.values()
    assert machine.connection is None


def test_detach_and_attach_in_one_turn_leave_the_machine_attached(master: LeaseHarness) -> None:
    attic = master.join("attic")
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    master.turn(requests.Detached(attic), requests.Attach(hello, True, 8))
    [machine] = master.core.state.machines.values()
    assert machine.connection == 8


@pytest.mark.parametrize(
    "policy, text",
    [
        ("rerun", "run again after 37 min 35 s of silence"),
        ("hold", "held after 37 min 35 s of silence"),
        ("keep", "`mythjobs machine dead attic`"),
        ("idempotent", "run again after 1 min of silence"),
    ],
)
def test_silence_over_20_s_is_shown_with_what_follows(
    master: LeaseHarness, policy: str, text: str
) -> None:
    attic, job = running(master, silence=policy)
    master.disconnect(attic)
    master.advance(20)
    assert master.explain(job)["sentence"] == "running on attic"
    master.advance(1)
    assert "running on attic, no heartbeat for 21.0 s" in master.explain(job)["sentence"]
    assert text in master.explain(job)["sentence"]
