"""Drain, pause and resume of machines."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest, NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.explain.machine import settings_of
from mythjobs.model.machine_control import MachineControl
from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON, Harness


def control(
    master: Harness, action: str, until_s: float | None = None, name: str = "attic"
) -> None:
    until_ms = None if until_s is None else master.now.wall_ms + round(1000 * until_s)
    master.request(requests.ControlMachine(name, action, until_ms))


def sent_controls(master: Harness) -> list[m.Control | None]:
    return [each.control for each in master.received(m.Settings)]


def test_drained_machine_gets_no_job_and_others_do(master: Harness) -> None:
    master.define("encode")
    master.join("attic")
    control(master, "drain")
    assert sent_controls(master) == [m.Control(drained=True)]
    job = master.submit("encode").id
    assert master.take_grants() == []
    why = master.explain(job)
    assert why["code"] == "drained"
    assert why["sentence"] == "waits: attic is drained: it starts no jobs"
    master.join("cellar")
    assert master.take_grants("cellar") == [job]


def test_drain_survives_a_restart_of_the_master(master: Harness) -> None:
    master.define("encode")
    master.join("attic")
    control(master, "drain")
    master.restart()
    master.join("attic")
    job = master.submit("encode").id
    assert master.take_grants() == []
    control(master, "resume")
    assert master.take_grants() == [job]


def test_welcome_tells_a_machine_that_it_is_paused(master: Harness) -> None:
    connection = master.join("attic")
    master.disconnect(connection)
    control(master, "pause", 60)
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "incarnation 2", 2)
    attached = master.request(requests.Attach(hello, True, 7))
    assert attached.control == m.Control(paused=True, until_ms=NOON + 60_000)


def test_pause_ends_by_itself(master: Harness) -> None:
    master.define("encode")
    master.join("attic")
    control(master, "pause", 60)
    job = master.submit("encode").id
    assert master.explain(job)["code"] == "paused"
    assert master.explain(job)["sentence"] == "waits: attic is paused until 12:01"
    assert master.core.state.next_due_ms == NOON + 60_000
    master.advance(59)
    assert master.take_grants() == []
    sent_controls(master)
    master.advance(1)
    assert master.take_grants() == [job]
    # The machine's clock may be late: the master tells it the end.
    assert sent_controls(master) == [m.Control()]


def test_pause_whose_end_passed_without_master_is_over(master: Harness) -> None:
    master.define("encode")
    master.join("attic")
    control(master, "pause", 60)
    master.restart()
    master.advance(61)
    assert master.core.state.find_machine("attic").control == MachineControl()


def test_end_of_a_pause_keeps_the_drain(master: Harness) -> None:
    master.join("attic")
    control(master, "drain")
    control(master, "pause", 60)
    assert master.core.state.find_machine("attic").control.is_paused
    master.advance(60)
    assert master.core.state.find_machine("attic").control == MachineControl(is_drained=True)


def test_paused_or_drained_machine_loses_no_job(master: Harness) -> None:
    master.define("encode", silence="rerun")
    connection = master.join("attic")
    job = master.submit("encode").id
    assert master.take_grants() == [job]
    master.send_frame(connection, m.Started(job, 1, NOON))
    master.attempts["attic"][job, 1] = "running"
    control(master, "pause")
    master.send_frame(connection, m.Frozen(job, 1, ["machine"]))
    master.join("cellar")
    for _ in range(200):
        master.advance(60)
        master.heartbeat(connection)
    assert master.take_grants("cellar") == []
    assert master.state(job) == "running"
    assert master.explain(job)["sentence"] == "frozen on attic, which is paused"
    # A job that the machine's pause has frozen is not one that a user has paused: if it is lost
    # (the machine restarts), it runs again.
    master.disconnect(connection)
    master.attempts["attic"].clear()
    master.join("attic", boot="next boot")
    assert master.take_grants("cellar") == [job]


def test_unreported_grant_of_a_drained_machine_is_queued_again(master: Harness) -> None:
    master.define("encode")
    connection = master.join("attic")
    job = master.submit("encode").id
    assert master.take_grants() == [job]
    master.attempts["attic"].clear()  # the grant was lost with the connection
    master.disconnect(connection)
    control(master, "drain")
    master.join("attic")
    assert master.take_grants() == []
    assert master.state(job) == "queued"


def test_older_agent_is_asked_to_thaw_each_job(master: Harness) -> None:
    master.define("encode")
    connection = master.join("attic", can=m.CAPABILITIES - {"pause"})
    job = master.submit("encode").id
    master.take_grants()
    master.send_frame(connection, m.Frozen(job, 1, ["machine"]))
    control(master, "resume")
    assert master.received(m.Freeze) == [m.Freeze(job, 1, "machine", False)]


def test_why_of_a_machine_says_that_it_is_drained_or_paused(master: Harness) -> None:
    master.join("attic")
    control(master, "drain")
    assert master.explain_machine("attic")["sentence"] == (
        "attic is drained: it starts no jobs, it has no job left; "
        "`mythjobs machine resume attic` ends that"
    )
    control(master, "pause", 60)
    assert master.explain_machine("attic")["code"] == "paused"


@pytest.mark.parametrize(
    "action, until_s, hint",
    [
        ("pause", 0.0, r"the end, Tue 2026-11-24 12:00 UTC, is in the past; give a time within a"),
        ("pause", 400 * 86_400.0, "is over a year ahead"),
        ("drain", 60.0, "only a pause"),
        ("stop", None, "one of"),
    ],
)
def test_invalid_requests_change_nothing(
    master: Harness, action: str, until_s: float | None, hint: str
) -> None:
    master.join("attic")
    with pytest.raises(BadRequest, match=hint):
        control(master, action, until_s)
    with pytest.raises(NoSuchMachine):
        control(master, "drain", name="cellar")
    assert master.core.state.find_machine("attic").control == MachineControl()


def test_ceilings_of_machine_and_command_are_set_and_removed(master: Harness) -> None:
    master.define("encode")
    master.join("attic", cores=4)

    def set_jobs(jobs: int | str, command: str | None = None) -> None:
        request = requests.SetMachine("attic", jobs=jobs, command=command)  # type: ignore[arg-type]
        master.request(request)

    set_jobs(1, "encode")
    jobs = master.queue(3, "encode")
    assert master.take_grants() == jobs[:1]
    set_jobs("auto", "encode")
    assert master.take_grants() == jobs[1:]
    machine = master.core.state.find_machine("attic")
    set_jobs(2)
    assert machine_jobs(master) == 2
    set_jobs("auto")
    assert machine_jobs(master) == 4
    assert settings_of(machine)["allow"] == "all"
    with pytest.raises(BadRequest, match="needs jobs"):
        master.request(requests.SetMachine("attic", command="encode"))


def machine_jobs(master: Harness) -> int:
    return master.core.state.find_machine("attic").max_jobs
