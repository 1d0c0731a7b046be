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
from tests.unit.master.silent import SilentHouse

# 1.25 · 1,800 s + 5 s.
PRESUMED_S = 2255.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SilentHouse]:
    house = SilentHouse(tmp_path)
    yield house
    house.close()


def leased(house: SilentHouse, **table: Any) -> tuple[int, int]:
    """The attic's connection, and a job that it has been granted. There is a cellar as well."""
    attic = house.join("attic")
    house.cellar()
    house.define(**table)
    job = house.submit().id
    assert house.granted("attic") == [job]
    return attic, job


def running(house: SilentHouse, **table: Any) -> tuple[int, int]:
    attic, job = leased(house, **table)
    house.held["attic"][job, 1] = "running"
    house.hear(attic, m.Started(job, 1, house.now.wall_ms))
    return attic, job


def test_a_grant_says_what_silence_means_and_how_long_the_lease_is(house: SilentHouse) -> None:
    house.join("attic")
    house.define("alone")
    house.submit("alone")
    house.cellar()
    for name, table in (
        ("usual", {}),
        ("long", {"silence": "rerun", "lease": "6h"}),
        ("held", {"silence": "hold"}),
        ("cheap", {"silence": "idempotent"}),
        ("kept", {"silence": "keep"}),
    ):
        house.later(1)
        for job, n in list(house.held["attic"]):
            house.end(1, job, n, o.Exited(0))
        house.define(name, **table)
        house.submit(name)
        house.granted()
    said = {
        name: (each.silence, each.lease_s, each.start_by_s)
        for name, each in zip(
            ("alone", "usual", "long", "held", "cheap", "kept"), house.grants, strict=True
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


def test_it_is_begun_again_when_its_machine_is_silent_long_enough(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.pass_time(PRESUMED_S)
    assert house.state(job) == "running"
    house.pass_time(0.002)
    row = house.row(job)
    assert (row["state"], row["losses"], row["failures"]) == ("queued", 1, 0)
    assert house.attempt(job, 1)["evidence"] == "presumed: silent"
    assert "attic was not heard of" in row["reason"]
    assert house.events(job) == ["requeued"]


def test_a_heartbeat_that_holds_it_lets_the_master_wait_again(house: SilentHouse) -> None:
    attic, job = running(house)
    house.later(2000)
    house.beat(attic)
    house.leave(attic)
    house.pass_time(2000)
    assert house.state(job) == "running"
    house.pass_time(PRESUMED_S - 2000 + 1)
    assert house.state(job) == "queued"


def test_a_heartbeat_that_does_not_hold_it_renews_nothing(house: SilentHouse) -> None:
    # A grant that the machine has not journalled yet: not missing, but not held either.
    attic, job = leased(house)
    house.held["attic"].clear()
    house.later(1000)
    house.hear(attic, m.Heartbeat(7, []), seen=0)
    house.leave(attic)
    house.pass_time(PRESUMED_S - 1000 + 1)
    assert house.state(job) == "queued"


def test_what_arrived_before_the_master_looked_is_read_first(house: SilentHouse) -> None:
    # The master stood still for an hour; then it reads what has come, and only then looks.
    attic, job = running(house)
    house.now = type(house.now)(*(each + 3_600_000 for each in house.now))
    tick = requests.Tick(house.now.steady_ms)
    beat = m.Heartbeat(9, [m.Held(job, 1, "running")])
    house.turn(tick, requests.AgentSaid(attic, m.AgentFrame(9, 1, 0, [beat])))
    assert house.state(job) == "running"


def test_nobody_is_presumed_over_by_a_turn_that_read_nothing(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.later(100_000)
    assert house.state(job) == "running"
    # What was read an hour ago proves nothing about now.
    house.turn(requests.Tick(house.now.steady_ms - 99_000_000))
    assert house.state(job) == "running"


def test_a_restart_of_the_master_waits_from_its_start(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.later(2000)
    house.restart()
    house.pass_time(PRESUMED_S)
    assert house.state(job) == "running"
    house.pass_time(1)
    assert house.state(job) == "queued"


@pytest.mark.parametrize(
    "silence, after_s, state, hold",
    [("hold", PRESUMED_S, "queued", 1), ("idempotent", 60.0, "queued", 0)],
)
def test_each_policy_has_its_time(
    house: SilentHouse, silence: str, after_s: float, state: str, hold: int
) -> None:
    attic, job = running(house, silence=silence)
    house.leave(attic)
    house.pass_time(after_s)
    assert house.state(job) == "running"
    house.pass_time(0.002)
    row = house.row(job)
    assert (row["state"], row["hold"]) == (state, hold)


def test_keep_waits_for_ever(house: SilentHouse) -> None:
    attic, job = running(house, silence="keep")
    house.leave(attic)
    house.pass_time(10_000_000)
    assert house.state(job) == "running"


def test_a_machine_that_cannot_end_a_job_with_its_lease_is_waited_for(house: SilentHouse) -> None:
    house.join("attic", can=m.CAN - {"leases"})
    house.cellar()
    house.define()
    job = house.submit().id
    house.granted()
    house.leave(1)
    house.pass_time(10_000_000)
    assert house.state(job) == "leased"


def test_a_job_that_was_to_be_stopped_is_cancelled_with_its_machine(house: SilentHouse) -> None:
    attic, job = running(house)
    house.ask(requests.CancelJobs([job], "anna"))
    house.leave(attic)
    house.pass_time(PRESUMED_S + 1)
    assert house.state(job) == "cancelled"


def test_a_job_that_was_lost_three_times_in_a_row_is_held(house: SilentHouse) -> None:
    attic, job = running(house)
    for n in (1, 2, 3):
        if n > 1:
            house.held["attic"] = {}
            attic = house.come()
            assert house.granted() == [job]
        house.leave(attic)
        house.pass_time(PRESUMED_S + 1)
    row = house.row(job)
    assert (row["state"], row["hold"], row["losses"]) == ("queued", 1, 3)
    assert row["reason_code"] == "lost_often"


# A new boot of the machine.


def test_a_new_boot_id_ends_what_the_machine_had(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.come(boot="another", held={})
    attempt = house.attempt(job, 1)
    assert attempt["evidence"] == "observed: rebooted"
    # Nothing keeps it from running again at once.
    assert house.granted() == [job]
    assert house.row(job)["losses"] == 1


def test_a_boot_id_outlives_the_master(house: SilentHouse) -> None:
    _, job = running(house)
    house.restart()
    house.come(boot="another", held={})
    assert house.attempt(job, 1)["evidence"] == "observed: rebooted"


def test_what_a_new_boot_has_the_end_of_is_waited_for(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    attic = house.come(boot="another", held={(job, 1): "ended"})
    assert house.state(job) == "running"
    house.end(attic, job, 1, o.Exited(0))
    assert house.state(job) == "succeeded"


def test_a_hello_of_an_old_boot_alone_ends_nothing(house: SilentHouse) -> None:
    # It was long under way; who sent it is not there any more, and sends no heartbeat.
    attic, job = running(house)
    house.leave(attic)
    hello = m.Hello(1, "key of attic", "", "", "attic", "older", "i", 2, can=sorted(m.CAN))
    house.ask(requests.Attach(hello, True, 99))
    assert house.state(job) == "running"


# A person's word.


def test_a_machine_that_is_declared_dead_gives_its_jobs_back(house: SilentHouse) -> None:
    attic, job = running(house, silence="keep")
    with pytest.raises(Conflict):
        house.ask(requests.DeclareDead("attic", "anna", "burnt down"))
    house.leave(attic)
    with pytest.raises(BadRequest):
        house.ask(requests.DeclareDead("attic", "anna", " "))
    with pytest.raises(NoSuchMachine):
        house.ask(requests.DeclareDead("shed", "anna", "burnt down"))
    assert house.ask(requests.DeclareDead("attic", "anna", "burnt down")) == [job]
    assert house.state(job) == "queued"
    assert "burnt down" in house.row(job)["reason"]
    assert house.attempt(job, 1)["evidence"] == "presumed: declared_dead"
    assert house.events(job) == ["declared_dead", "requeued"]


# Connections that break.


def test_a_grant_that_the_machine_never_had_is_offered_again_and_counts_from_then(
    house: SilentHouse,
) -> None:
    attic, job = leased(house)
    house.leave(attic)
    house.later(2000)
    attic = house.come(held={})
    [again] = house.heard(m.Grant)
    assert (again.job, again.n, again.lease_s) == (job, 1, 1800.0)
    house.held["attic"][job, 1] = "leased"
    # The machine counts from its new heartbeat, so the note of the master is a new one too.
    house.leave(attic)
    house.pass_time(2000)
    assert house.state(job) == "leased"
    house.pass_time(PRESUMED_S - 2000 + 1)
    assert house.state(job) == "queued"


def test_what_has_started_and_is_not_known_any_more_is_lost(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.come(held={})
    assert house.attempt(job, 1)["evidence"] == "observed: forgotten"
    assert house.row(job)["losses"] == 1


def test_a_missing_attempt_is_not_concluded_from_before_its_grant_was_seen(
    house: SilentHouse,
) -> None:
    attic, job = leased(house)
    house.hear(attic, m.Heartbeat(5, []), seen=0)
    assert house.state(job) == "leased"
    house.hear(attic, m.Heartbeat(6, []), seen=1)
    assert house.attempt(job, 1)["over_ms"] is not None
    assert house.row(job)["losses"] == 0


def test_what_the_machine_holds_without_a_right_is_excepted_and_stopped(house: SilentHouse) -> None:
    attic, job = running(house)
    house.leave(attic)
    house.pass_time(PRESUMED_S + 1)
    attic = house.come(held={(job, 1): "running"})
    [renew] = house.heard(m.Renew)[-1:]
    assert renew.excepted == [(job, 1)]
    assert m.Stale(job, 1) in house.heard(m.Stale)
    assert "stale" in house.events(job)


def test_a_connection_that_ends_in_the_turn_it_began_is_not_kept(house: SilentHouse) -> None:
    # Seen: the end was handled before the beginning, and the machine stayed attached.
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    house.turn(requests.Attach(hello, True, 7), requests.Detached(7))
    [machine] = house.core.memory.machines.values()
    assert machine.connection is None


def test_a_machine_that_comes_back_in_one_turn_is_connected(house: SilentHouse) -> None:
    attic = house.join("attic")
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2)
    house.turn(requests.Detached(attic), requests.Attach(hello, True, 8))
    [machine] = house.core.memory.machines.values()
    assert machine.connection == 8


@pytest.mark.parametrize(
    "policy, says",
    [
        ("rerun", "begun again after 37 min 35 s of silence"),
        ("hold", "held for a person after 37 min 35 s of silence"),
        ("keep", "`mythjobs machine dead attic`"),
        ("idempotent", "begun again after 1 min of silence"),
    ],
)
def test_a_job_is_shown_silent_after_20_s_and_what_becomes_of_it(
    house: SilentHouse, policy: str, says: str
) -> None:
    attic, job = running(house, silence=policy)
    house.leave(attic)
    house.later(20)
    assert house.why(job)["sentence"] == "running on attic"
    house.later(1)
    assert "running on attic, which was not heard of for 21.0 s" in house.why(job)["sentence"]
    assert says in house.why(job)["sentence"]
