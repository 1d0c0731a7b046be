"""Placement on a machine that scales automatically: it gets what it has room for by its report."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.master.explain import machine as explain_machine
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import DiskLoad, Headroom, LoadReport
from tests.unit.master.harness import Harness

SATURATED = "disk sdb is saturated by 2 heavy streams"


class ScalingMachine:
    """The machine attic of two cores, which scales automatically."""

    def __init__(self, master: Harness, connection: int = 1) -> None:
        self.master = master
        self.connection = connection
        self.frame_no = self.hb = 0
        master._names[connection] = "attic"
        master._frames[connection] = 0
        master.attempts.setdefault("attic", {})
        hello = m.Hello(
            1, "key of attic", "", "", "attic", "boot", f"i{connection}", 2,
            can=sorted(m.CAPABILITIES), scaling=True,
        )  # fmt: skip
        self.attached = master.request(requests.Attach(hello, True, connection))

    def send(
        self,
        *messages: m.AgentMessage,
        seen: int | None = None,
        other: int = 0,
        reasons: dict[str, str] | None = None,
        headroom: bool = True,
        **given: Any,
    ) -> None:
        """Send a frame; `given` are the commands that fit, or other fields of the frame."""
        self.frame_no += 1
        if seen is None:
            found = self.master.core.state.machine_on_connection(self.connection)
            assert found is not None
            seen = found.last_grant_no
        fields = {
            name: given.pop(name) for name in ("load", "footprints", "description") if name in given
        }
        room = Headroom(given, other, reasons or {}) if headroom else None
        frame = m.AgentFrame(self.frame_no, seen, 0, list(messages), headroom=room, **fields)
        frame = codec.decode_agent_frame(codec.encode(frame))
        self.master.turn(requests.FrameReceived(self.connection, frame))

    def heartbeat(self, **given: Any) -> None:
        self.hb += 1
        held = [m.HeldAttempt(*key, state) for key, state in self.master.attempts["attic"].items()]
        self.send(m.Heartbeat(self.hb, held), **given)

    def start(self, *jobs: int, **given: Any) -> None:
        started = [m.Started(job, 1, self.master.now.wall_ms) for job in jobs]
        self.send(*started, **given)


@pytest.fixture
def machine(master: Harness) -> ScalingMachine:
    master.define("copy")
    master.define("encode")
    return ScalingMachine(master)


def test_a_machine_gets_as_many_jobs_as_fit(master: Harness, machine: ScalingMachine) -> None:
    machine.heartbeat(encode=3)
    jobs = master.queue(5, "encode")
    assert master.take_grants() == jobs[:3]
    # The machine has started them, and two more would fit.
    machine.start(*jobs[:3], encode=2)
    assert master.take_grants() == jobs[3:]


def test_more_jobs_than_cores_run_on_a_machine_without_a_limit(
    master: Harness, machine: ScalingMachine
) -> None:
    assert machine.attached.jobs == 64
    machine.heartbeat(encode=20)
    jobs = master.queue(20, "encode")
    assert master.take_grants() == jobs


def test_jobs_of_another_command_start_before_one_that_does_not_fit(
    master: Harness, machine: ScalingMachine
) -> None:
    machine.heartbeat(copy=0, encode=1, reasons={"copy": SATURATED})
    copies, encoders = master.queue(2, "copy"), master.queue(1, "encode")
    assert master.take_grants() == encoders
    assert master.rules(copies[0])["attic"]["room"] == SATURATED


def test_grants_of_several_commands_share_the_room_until_the_next_report(
    master: Harness, machine: ScalingMachine
) -> None:
    machine.heartbeat(copy=2, encode=2)
    copies, encoders = master.queue(2, "copy"), master.queue(2, "encode")
    first = master.take_grants()
    assert len(first) == 2
    # A report that does not know these grants yet permits no others.
    machine.send(copy=2, encode=2, seen=0)
    assert master.take_grants() == []
    machine.start(*first, copy=1, encode=1)
    assert len(master.take_grants()) == 1
    assert set(first) < {*copies, *encoders}


def test_a_machine_gets_nothing_before_its_first_report(
    master: Harness, machine: ScalingMachine
) -> None:
    machine.heartbeat(headroom=False)
    job = master.submit("encode").id
    assert master.take_grants() == []
    machine.send(other=1)
    assert master.take_grants() == [job]


def test_a_limit_of_a_user_is_a_ceiling(master: Harness, machine: ScalingMachine) -> None:
    machine.heartbeat(encode=10)
    master.request(requests.EditMachine("attic", {"jobs": 1, "allow": "all"}))
    jobs = master.queue(3, "encode")
    assert master.take_grants() == jobs[:1]


def test_short_jobs_are_not_limited_by_the_report(master: Harness, machine: ScalingMachine) -> None:
    machine.heartbeat(encode=1)
    for _ in range(3):
        job = master.submit("encode").id
        assert master.take_grants() == [job]
        master._frames[1] = machine.frame_no
        master.finish(1, job, seconds=0.01)
        machine.frame_no += 1
    machine.heartbeat(encode=0)
    jobs = master.queue(8, "encode")
    assert master.take_grants() == jobs


def test_a_heartbeat_is_answered_with_the_commands_that_wait(
    master: Harness, machine: ScalingMachine
) -> None:
    master.queue(2, "copy")
    machine.heartbeat(copy=0)
    machine.heartbeat(copy=0)
    assert master.received(m.Renew)[-1].waiting == ["copy"]


def test_footprints_are_kept_and_a_new_machine_gets_them(
    master: Harness, machine: ScalingMachine
) -> None:
    row = [3, 1.0, 2**30, 60.0, 0.0, {"sda": 0.1}]
    machine.heartbeat(footprints={"encode": row, "removed": row})
    master.restart()
    assert ScalingMachine(master, 2).attached.footprints == {"encode": row}
    newer = [9, 2.0, 2**30, 60.0, 0.0, {}]
    master.restart()
    again = ScalingMachine(master, 3)
    again.heartbeat(footprints={"encode": newer})
    master.restart()
    assert ScalingMachine(master, 4).attached.footprints == {"encode": newer}


def details(master: Harness) -> Any:
    with master.store.snapshot() as tx:
        return explain_machine.read_machine(tx, master.core.state, "attic", master.now)


def test_the_machine_s_page_says_why_it_runs_no_more(
    master: Harness, machine: ScalingMachine
) -> None:
    assert details(master)["scaling"]["sentence"] == "has not reported its load yet"
    load = LoadReport(2, 1.5, 0.2, 2**33, 2**32, {"sdb": DiskLoad(0.99, 0.0)})
    machine.heartbeat(copy=2, load=load)
    assert details(master)["scaling"]["sentence"] == "runs 0 jobs and has room for more"
    jobs = master.queue(3, "copy")
    assert master.take_grants() == jobs[:2]
    machine.start(*jobs[:2], copy=0, reasons={"copy": SATURATED})
    found = details(master)
    assert found["scaling"]["sentence"] == f"runs 2 jobs and not 3: {SATURATED}"
    assert found["load"]["disks"] == {"sdb": {"busy": 0.99, "foreign": 0.0}}
    machine.send(m.Frozen(jobs[1], 1, ["pressure"]), headroom=False)
    assert details(master)["scaling"]["sentence"] == (
        f"runs 1 job and not 2: {SATURATED}; 1 frozen because of the load"
    )


def test_a_machine_of_an_older_version_has_fixed_slots(master: Harness) -> None:
    master.define("encode")
    connection = master.join(cores=2)
    jobs = master.queue(5, "encode")
    assert master.take_grants() == jobs[:2]
    assert details(master)["scaling"] is None
    master.heartbeat(connection)
    assert master.received(m.Renew)[-1].waiting == []


def test_a_connected_machine_gets_what_another_one_has_learned_of_a_waiting_command(
    master: Harness,
) -> None:
    row = [1, 1.0, 2**20, 3.0, 0.0, {"sda": 0.2}]
    machine = ScalingMachine(master)
    machine.heartbeat()
    other = master.join("cellar")
    master.define("encode")
    master._frames[other] += 1
    frame = m.AgentFrame(master._frames[other], 0, 0, [], footprints={"encode": row})
    master.submit("encode", machine="attic")
    machine.heartbeat()
    assert master.received(m.Renew)[-1].footprints == {}
    master.turn(requests.FrameReceived(other, codec.decode_agent_frame(codec.encode(frame))))
    machine.heartbeat()
    assert master.received(m.Renew)[-1].footprints == {"encode": row}
    # Once is enough.
    machine.heartbeat()
    assert master.received(m.Renew)[-1].footprints == {}


def test_a_command_that_has_waited_long_for_room_is_named_to_the_machine(master: Harness) -> None:
    machine = ScalingMachine(master)
    master.define("big")
    master.define("small")
    machine.heartbeat(big=0, small=1)
    master.submit("big")
    master.advance(50)
    machine.heartbeat(big=0, small=1)
    assert master.received(m.Renew)[-1].starving == []
    master.advance(15)
    machine.heartbeat(big=0, small=1)
    assert master.received(m.Renew)[-1].starving == ["big"]
    machine.heartbeat(big=1, small=0)
    assert len(master.take_grants()) == 1
    machine.heartbeat(big=0, small=1)
    assert master.received(m.Renew)[-1].starving == []


def test_the_load_is_shown_without_scaling_too_while_the_machine_is_connected(
    master: Harness,
) -> None:
    connection = master.join(cores=2)
    assert details(master)["load"] is None
    load = LoadReport(2, 1.5, 0.2, 2**33, 2**32)
    frame = m.AgentFrame(1, 0, 2, [m.Heartbeat(1, [])], load=load)
    master.turn(requests.FrameReceived(connection, frame))
    found = details(master)
    assert (found["scaling"], found["load"]["cpu"]) == (None, 1.5)
    master.turn(requests.Detached(connection))
    assert details(master)["load"] is None
