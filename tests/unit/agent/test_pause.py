"""Drain and pause of the machine: nothing starts, running jobs are frozen, restarts keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mythjobs.agent.core.attempt import JournalSnapshot
from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.journal import encode_journal, read_journal
from mythjobs.model.machine_control import MachineControl
from mythjobs.protocol import messages as m
from tests.support.agent_harness import BASE_ENVIRONMENT, AgentHarness, at

END_S = 1800.0
END_MS = at(END_S).wall_ms


def settings(**given: Any) -> m.Settings:
    return m.Settings(2, m.Control(**given))


def running(*jobs: int) -> AgentHarness:
    """Return an agent on which these jobs run."""
    agent = AgentHarness(jobs=2)
    agent.master_sends(*[agent.make_grant(job) for job in jobs])
    agent.reaper_sends(*[agent.started(job) for job in jobs])
    agent.take_starts()
    agent.send_all()
    return agent


def freezes(agent: AgentHarness) -> list[tuple[Any, Any, Any]]:
    return [(each["job"], each["holder"], each["on"]) for each in agent.take_sent("freeze")]


def actions(agent: AgentHarness) -> list[tuple[Any, Any]]:
    """Return (job, timed actions) as sent to the reaper last."""
    return [(each["job"], each["acts"]) for each in agent.take_sent("acts")]


def test_drained_machine_starts_nothing_and_finishes_what_runs() -> None:
    agent = running(1, 2)
    waiting = agent.make_grant(3)
    agent.master_sends(waiting)
    agent.master_sends(settings(drained=True))
    assert agent.take_starts() == []
    [returned] = agent.send_all()
    assert isinstance(returned, m.Returned)
    assert (returned.job, returned.reason) == (3, "the machine is drained")
    assert agent.frames[-1].room == 0
    agent.master_acknowledges()
    # Nothing is done to the running jobs, and no job follows them.
    agent.reaper_sends(agent.ended(1), agent.synced())
    assert (freezes(agent), actions(agent), agent.take_starts()) == ([], [], [])
    # A grant that was on its way comes back.
    agent.master_sends(agent.make_grant(4))
    assert [each.job for each in agent.send_all() if isinstance(each, m.Returned)] == [4]
    agent.master_sends(settings())
    agent.master_sends(agent.make_grant(5))
    assert agent.take_starts() == [5]


def test_paused_machine_freezes_all_jobs_until_it_is_resumed() -> None:
    agent = running(1, 2)
    agent.master_sends(settings(paused=True))
    assert freezes(agent) == [(1, "machine", True), (2, "machine", True)]
    # A pause without end needs no timed action.
    assert actions(agent) == [(1, []), (2, [])]
    agent.master_sends(settings())
    assert freezes(agent) == [(1, "machine", False), (2, "machine", False)]


def test_reaper_thaws_at_the_end_of_a_pause_without_agent() -> None:
    agent = running(1)
    agent.master_sends(settings(paused=True, until_ms=END_MS))
    assert actions(agent) == [(1, [[1_800_000, "thaw", "machine", 0.0]])]
    # The agent ends the pause by its own clock, if it runs.
    assert agent.core.has_deadlines
    agent.now = END_S - 1
    agent.execute(agent.core.check_deadlines(at(agent.now)))
    freezes(agent)
    agent.master_sends(agent.make_grant(2, start_by_s=9000.0))
    assert agent.take_starts() == []
    agent.now = END_S
    agent.execute(agent.core.check_deadlines(at(agent.now)))
    assert freezes(agent) == [(1, "machine", False)]
    assert not agent.core.has_deadlines
    agent.master_sends(agent.make_grant(3, start_by_s=9000.0))
    assert agent.take_starts() == [3]


def test_timed_thaw_of_an_earlier_pause_is_removed() -> None:
    agent = running(1)
    agent.master_sends(settings(paused=True, until_ms=END_MS))
    agent.take_sent("acts")
    agent.master_sends(settings(paused=True))
    assert actions(agent) == [(1, [])]


def test_pause_moves_with_a_step_of_the_wall_clock() -> None:
    agent = running(1)
    agent.master_sends(settings(paused=True, until_ms=END_MS))
    agent.execute(agent.core.check_deadlines(at(0)))
    agent.take_sent("acts")
    stepped = at(1)._replace(wall_ms=at(601).wall_ms)
    agent.execute(agent.core.check_deadlines(stepped))
    assert actions(agent) == [(1, [[1_000 + 1_199_000, "thaw", "machine", 0.0]])]


def test_end_of_a_pause_keeps_jobs_frozen_that_a_user_has_paused() -> None:
    agent = running(1)
    agent.master_sends(m.Freeze(1, 1, "user", True))
    agent.master_sends(settings(paused=True))
    agent.master_sends(settings())
    assert freezes(agent) == [(1, "user", True), (1, "machine", True), (1, "machine", False)]


def test_pause_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    agent = running(1)
    agent.master_sends(settings(drained=True, paused=True, until_ms=END_MS))
    assert {"control": [True, True, END_MS]} in agent.records
    path = tmp_path / "journal"
    path.write_bytes(encode_journal(agent.core.take_snapshot(), "boot"))
    after = AgentHarness(connect=False)
    after.core = AgentCore(BASE_ENVIRONMENT)
    after.core.restore(read_journal(path, "boot"))
    # The reaper may have started the attempt just before, so it gets the freeze again.
    after.reaper_connects("r1", after.started(1))
    assert freezes(after) == [(1, "machine", True)]
    assert actions(after) == [(1, [[1_800_000, "thaw", "machine", 0.0]])]
    # The pause ended while no agent ran.
    late = AgentCore(BASE_ENVIRONMENT)
    late.restore(read_journal(path, "boot"))
    after.core, after.now = late, END_S + 1
    after.reaper_connects("r1", after.started(1))
    assert freezes(after) == []
    assert after.core.take_snapshot().control == MachineControl(is_drained=True)


def test_later_record_replaces_the_control_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = encode_journal(JournalSnapshot({}, [], [], MachineControl(True, True, 5)), "boot")
    path.write_bytes(before + b'{"control":[false,false,null]}\n')
    assert read_journal(path, "boot").control == MachineControl()


def test_master_tells_the_control_at_each_connection() -> None:
    agent = running(1)
    agent.execute(agent.core.change_control(m.Control(paused=True), at(0)))
    assert freezes(agent) == [(1, "machine", True)]
    # An older master does not know pauses: it would wait for jobs that nobody can resume.
    agent.execute(agent.core.change_control(None, at(0)))
    assert freezes(agent) == [(1, "machine", False)]


def test_frozen_job_of_a_pause_that_is_over_is_thawed() -> None:
    agent = running(1)
    frozen = {"type": "frozen", "job": 1, "n": 1, "holders": ["machine"]}
    agent.reaper_sends(cast(Any, frozen))
    assert freezes(agent) == [(1, "machine", False)]
