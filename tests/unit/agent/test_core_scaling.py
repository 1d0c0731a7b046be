"""Agent core with a gate: attempts wait until they fit, and run at low priority."""

from __future__ import annotations

from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.clock import Now
from tests.support.agent_harness import AgentHarness, at


class Gate:
    """Admits the commands in `open`, and notes what it admitted."""

    def __init__(self) -> None:
        self.open = {"encode"}
        self.short: set[str] = set()
        self.admitted: list[tuple[Key, str]] = []
        self.background: list[tuple[Key, int]] = []

    def admit(self, key: Key, command: str, now: Now, /) -> bool:
        if command not in self.open:
            return False
        self.admitted.append((key, command))
        return True

    def count_running(self, key: Key, command: str, now: Now, /) -> None:
        self.admitted.append((key, command))

    def is_short(self, command: str, /) -> bool:
        return command in self.short

    def can_follow(self, command: str, /) -> bool:
        return False

    def count_followed(self) -> int:
        return 0

    def set_background(self, key: Key, nice: int, /) -> None:
        self.background.append((key, nice))


def make_agent(gate: Gate) -> AgentHarness:
    return AgentHarness(jobs=8, gate=gate)


def table(agent: AgentHarness) -> AttemptTable:
    return agent.core.table


def test_an_attempt_waits_until_the_gate_admits_it() -> None:
    gate = Gate()
    agent = make_agent(gate)
    agent.master_sends(agent.make_grant(1, command="copy"))
    agent.master_sends(agent.make_grant(2, command="encode"))
    assert agent.take_starts() == [2]
    assert gate.admitted == [((2, 1), "encode")]
    assert table(agent).refused == {(1, 1): "copy"}
    gate.open = {"copy"}
    agent.execute(agent.core.change_freezes([], at(1)))
    assert agent.take_starts() == [1]
    assert table(agent).refused == {}
    assert table(agent).list_running() == {(1, 1): "copy", (2, 1): "encode"}


def test_jobs_run_at_low_priority_unless_their_command_sets_one() -> None:
    gate = Gate()
    agent = make_agent(gate)
    agent.master_sends(agent.make_grant(1, command="encode"))
    agent.master_sends(agent.make_grant(2, command="encode", run={"nice": 0, "has_priority": True}))
    agent.master_sends(agent.make_grant(3, command="encode", run={"nice": 5, "has_priority": True}))
    first, second, third = agent.take_sent("start")
    assert (first["nice"], first["io"]) == (19, "idle")
    assert (second["nice"], second.get("io", "")) == (0, "")
    assert (third["nice"], third.get("io", "")) == (5, "")
    assert gate.background == [((1, 1), 19), ((3, 1), 5)]


def test_a_short_job_keeps_the_priority_that_costs_nothing() -> None:
    gate = Gate()
    gate.short = {"encode"}
    agent = make_agent(gate)
    agent.master_sends(agent.make_grant(1, command="encode"))
    [start] = agent.take_sent("start")
    assert (start["nice"], start.get("io", "")) == (0, "")


def test_ad_hoc_jobs_are_told_apart_by_their_program() -> None:
    gate = Gate()
    gate.open = {"run ffmpeg"}
    agent = make_agent(gate)
    agent.master_sends(
        agent.make_grant(1, command="run", run={"argv": ["/usr/bin/ffmpeg", "-version"]})
    )
    assert gate.admitted == [((1, 1), "run ffmpeg")]


def test_a_freeze_because_of_the_load_goes_to_the_reaper() -> None:
    agent = make_agent(Gate())
    agent.master_sends(agent.make_grant(1, command="encode"))
    agent.execute(agent.core.change_freezes([((1, 1), True)], at(1)))
    [freeze] = agent.take_sent("freeze")
    assert (freeze["holder"], freeze["on"]) == ("pressure", True)


def test_without_a_gate_jobs_start_as_slots_permit() -> None:
    agent = AgentHarness(jobs=2)
    for job in (1, 2, 3):
        agent.master_sends(agent.make_grant(job, command="encode"))
    assert agent.take_starts() == [1, 2]
