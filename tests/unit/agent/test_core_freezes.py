"""Agent core: freezes that a reaper reports."""

from __future__ import annotations

import pytest

from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at


def test_time_left_is_reported_again_on_a_new_connection_and_after_a_freeze() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"progress": "status"}))
    lines = {"type": "status", "job": 1, "n": 1, "lines": ["eta 310"]}
    agent.reaper_sends(agent.started(1), lines)
    assert m.Progress(1, 1, None, None, 310.0) in agent.send_all()
    agent.now = 60.0
    agent.core.on_connected(2)
    assert m.Progress(1, 1, None, None, 250.0) in agent.send_all()
    agent.master_acknowledges()

    frozen = {"type": "frozen", "job": 1, "n": 1}
    agent.reaper_sends({**frozen, "holders": ["user"]})
    agent.send_all()
    agent.master_acknowledges()
    agent.now = 3600.0
    agent.reaper_sends({**frozen, "holders": ["user", "window"]})
    agent.reaper_sends({**frozen, "holders": []})
    assert agent.send_all() == [m.Frozen(1, 1, []), m.Progress(1, 1, None, None, 250.0)]


@pytest.mark.parametrize("holders, paused", [(["user", "window"], True), (["window"], False)])
def test_the_end_of_a_stopped_attempt_says_whether_a_user_had_paused_it(
    holders: list[str], paused: bool
) -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    stopped = {"outcome": {"kind": "stopped", "by": "lease"}, "frozen_at_stop": holders}
    agent.reaper_sends(agent.started(1), agent.ended(1) | stopped, agent.synced())
    [end] = [each for each in agent.send_all() if isinstance(each, m.Ended)]
    assert end.paused is paused


def test_a_freeze_because_of_the_load_lapses_without_an_agent() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.reaper_sends(agent.started(1))
    agent.reaper_messages.clear()
    for on in (True, False):
        agent.execute(agent.core.change_freezes([((1, 1), on)], at(0)))
    agent.master_sends(m.Freeze(1, 1, "user", True))
    freezes = agent.take_sent("freeze")
    assert [(each["holder"], each["on"], each.get("lapse_s")) for each in freezes] == [
        ("pressure", True, 60.0), ("pressure", False, None), ("user", True, None)
    ]  # fmt: skip
