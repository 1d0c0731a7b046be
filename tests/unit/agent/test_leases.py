"""Leases on the machine, counted from the send of a heartbeat, and changed limits."""

from __future__ import annotations

from typing import Any, cast

from mythjobs.agent.core.core import AgentCore
from mythjobs.protocol import messages as m
from tests.support.agent_harness import BASE_ENVIRONMENT, AgentHarness, at

LEASE_S = 1800.0
END = 1_800_000
TOO_LATE = "the grant arrived after its start-by time"


def leased(agent: AgentHarness, job: int = 1, **given: Any) -> m.Grant:
    return agent.make_grant(
        job, silence="rerun", **{"lease_s": LEASE_S, "start_by_s": 900.0, **given}
    )


def running(**given: Any) -> AgentHarness:
    """Return an agent whose job 1 runs on a lease granted under the heartbeat sent at 0."""
    agent = AgentHarness()
    agent.master_sends(leased(agent, **given))
    agent.reaper_sends(agent.started(1))
    return agent


def beat(agent: AgentHarness, seconds: float) -> int:
    """Send a heartbeat at this time and return its number."""
    agent.now = seconds
    agent.execute(agent.core.on_heartbeat_due(at(seconds)))
    [hb] = [each.hb for each in agent.send_all() if isinstance(each, m.Heartbeat)]
    return hb


def stop_times(agent: AgentHarness) -> list[int]:
    """Return the times sent to the reaper at which job 1 must stop for its lease."""
    actions = [act for each in agent.take_sent("acts") for act in cast(list[Any], each["acts"])]
    return [act[0] for act in actions if act[1:3] == ["stop", "lease"]]


def test_start_contains_stop_before_lease_end() -> None:
    agent = AgentHarness()
    agent.now = 4
    agent.master_sends(leased(agent))
    [start] = agent.take_sent("start")
    # Granted at 4 s under the heartbeat sent at 0: the lease ends at 1,800 s, not at 1,804.
    assert start["acts"] == [[END - 30_000, "stop", "lease", 20.0]]


def test_short_lease_has_short_kill_budget() -> None:
    agent = AgentHarness()
    agent.master_sends(leased(agent, lease_s=60.0, start_by_s=30.0))
    [start] = agent.take_sent("start")
    assert start["acts"] == [[45_000, "stop", "lease", 10.0]]


def test_lease_without_expiry_sends_no_action() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    [start] = agent.take_sent("start")
    assert "acts" not in start


def test_answered_heartbeat_renews_from_its_send_time() -> None:
    agent = running()
    hb = beat(agent, 100)
    agent.now = 112
    agent.master_sends(m.Renew(hb))
    assert stop_times(agent) == [100_000 + END - 30_000]


def test_unanswered_heartbeats_renew_nothing() -> None:
    agent = running()
    beat(agent, 100)
    beat(agent, 105)
    agent.now = 110
    agent.master_sends(m.Renew(99))
    assert stop_times(agent) == []


def test_older_answer_shortens_nothing() -> None:
    agent = running()
    first = beat(agent, 100)
    second = beat(agent, 200)
    agent.master_sends(m.Renew(second))
    stop_times(agent)
    agent.master_sends(m.Renew(first))
    [attempt] = agent.core.take_snapshot().granted.values()
    assert attempt.end_ms == 200_000 + END


def test_excepted_attempt_is_not_renewed() -> None:
    agent = running()
    hb = beat(agent, 100)
    agent.master_sends(m.Renew(hb, [(1, 1)]))
    assert stop_times(agent) == []


def test_heartbeat_sent_before_grant_arrived_does_not_renew_it() -> None:
    # The master counts from an earlier heartbeat: this one did not contain the attempt.
    agent = AgentHarness()
    hb = beat(agent, 300)
    agent.master_sends(leased(agent))
    agent.master_sends(m.Renew(hb))
    [terms] = agent.core.take_snapshot().granted.values()
    assert terms.end_ms == END


def test_repeated_grant_renews_lease_and_starts_nothing() -> None:
    agent = running()
    agent.take_sent("start")
    hb = beat(agent, 300)
    agent.master_sends(leased(agent, hb=hb))
    assert agent.take_starts() == []
    assert stop_times(agent) == [300_000 + END - 30_000]


def test_short_renewal_is_not_sent_to_reaper_and_journal() -> None:
    agent = running()
    records = len(agent.records)
    hb = beat(agent, 5)
    agent.master_sends(m.Renew(hb))
    assert stop_times(agent) == []
    assert len(agent.records) == records
    # The agent's own check uses the renewed lease.
    agent.execute(agent.core.check_deadlines(at(1771)))
    assert agent.take_sent("stop") == []


def test_agent_stops_expired_attempt_once() -> None:
    agent = running()
    agent.execute(agent.core.check_deadlines(at(1769.9)))
    assert agent.take_sent("stop") == []
    agent.execute(agent.core.check_deadlines(at(1770)))
    agent.execute(agent.core.check_deadlines(at(1771)))
    assert [(each["job"], each["by"]) for each in agent.take_sent("stop")] == [(1, "lease")]


def test_attempt_is_not_started_past_its_start_by() -> None:
    agent = AgentHarness(jobs=0)
    agent.master_sends(leased(agent))
    agent.now = 900
    agent.master_sends(m.Settings(1))
    assert agent.take_starts() == []
    assert (
        m.Returned(1, 1, "the job could not be started before its start-by time")
        in agent.send_all()
    )


def test_grant_that_arrives_at_its_start_by_is_returned() -> None:
    agent = AgentHarness()
    agent.now = 900
    agent.master_sends(leased(agent))
    assert agent.take_starts() == []
    assert m.Returned(1, 1, TOO_LATE) in agent.send_all()


def test_grant_under_older_heartbeat_is_returned() -> None:
    agent = AgentHarness()
    beat(agent, 5)
    agent.master_acknowledges()
    beat(agent, 10)
    agent.master_acknowledges()
    agent.master_sends(leased(agent, hb=1))
    assert agent.take_starts() == []
    assert m.Returned(1, 1, TOO_LATE) in agent.send_all()


def test_restarted_agent_continues_with_lease_known_to_reaper() -> None:
    agent = running()
    hb = beat(agent, 600)
    agent.master_sends(m.Renew(hb))
    stops_ms = stop_times(agent)

    after = AgentCore(BASE_ENVIRONMENT)
    after.restore(agent.core.take_snapshot())
    after.on_reaper_hello("r1", [agent.started(1)], (), at(700))
    after.finish_recovery(at(700))
    [terms] = after.take_snapshot().granted.values()
    assert terms.kill_ms == stops_ms[-1]
    # The lease expires before a heartbeat of the new agent is answered.
    assert after.check_deadlines(at(600 + 1769)) == []
    [send] = after.check_deadlines(at(600 + 1770))
    assert send.messages == [{"type": "stop", "job": 1, "n": 1, "by": "lease"}]  # type: ignore[union-attr]


def test_renewals_sent_to_reaper_are_journaled() -> None:
    agent = running()
    hb = beat(agent, 600)
    agent.master_sends(m.Renew(hb))
    assert agent.records[-1]["lease"] == [[1, 1, 600_000 + END]]


# Limits changed by the machine's owner.


def test_changed_limits_of_running_attempt_go_to_reaper() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"wall_s": 60.0, "processes": 9}))
    agent.reaper_sends(agent.started(1))
    agent.master_sends(m.LimitsChanged(1, 1, wall_s=600.0, memory_bytes=2**20, grace_s=5.0))
    [limits] = agent.take_sent("limits")
    assert limits == {
        "type": "limits", "to": "r1", "job": 1, "n": 1, "wall_s": 600.0, "cpu_s": None,
        "idle_s": None, "memory_bytes": 2**20, "output_bytes": None, "processes": None,
        "grace_s": 5.0,
    }  # fmt: skip


def test_waiting_attempt_starts_with_changed_limits() -> None:
    agent = AgentHarness(jobs=0)
    agent.master_sends(
        agent.make_grant(1, run={"wall_s": 60.0, "nice": 5}), m.LimitsChanged(1, 1, cpu_s=7.0)
    )
    assert agent.take_sent("limits") == []
    agent.master_sends(m.Settings(1))
    [start] = agent.take_sent("start")
    assert (start.get("wall_s"), start["cpu_s"], start["nice"]) == (None, 7.0, 5)


def test_changed_limits_of_unknown_attempt_are_ignored() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.run_to_end(1)
    agent.master_sends(m.LimitsChanged(1, 1, wall_s=1.0), m.LimitsChanged(9, 1, wall_s=1.0))
    assert agent.take_sent("limits") == []
