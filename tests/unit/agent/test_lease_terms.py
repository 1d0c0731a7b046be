"""Hours that the machine enforces: starts, timed actions for the reaper, frozen jobs."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from mythjobs.agent.core.core import AgentCore
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import HoursSpec
from tests.support.agent_harness import BASE_ENVIRONMENT, AgentHarness, at

HOUR_MS = 3_600_000


def clock(seconds: float) -> str:
    """Return the time of day, UTC, `seconds` after the start of the test."""
    when = dt.datetime.fromtimestamp(at(seconds).wall_ms / 1000, dt.UTC)
    return f"{when:%H:%M}"


def until(hours: float) -> str:
    """Return a range open from two hours before the start of the test until `hours` after it."""
    return f"{clock(-7200)}-{clock(3600 * hours)}"


def closes_ms(hours: float) -> int:
    """Return when `until(hours)` closes on the steady clock, rounded down to a minute."""
    return int(hours * HOUR_MS) - at(0).wall_ms % 60_000


def hours(*sets: list[str], closing: str = "freeze", **given: Any) -> HoursSpec:
    all_sets = [*sets, *([] for _ in range(3 - len(sets)))]
    return HoursSpec(all_sets, closing=closing, **given)


def actions_of(agent: AgentHarness, kind: str = "start") -> list[Any]:
    return [act for each in agent.take_sent(kind) for act in cast(list[Any], each.get("acts", []))]


def running(spec: HoursSpec) -> AgentHarness:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, hours=spec, command="transcode"))
    agent.reaper_sends(agent.started(1))
    return agent


def test_freezing_window_sends_freezes_and_thaws_for_eight_days() -> None:
    agent = running(hours([until(1)]))
    actions = actions_of(agent)
    assert actions[0] == [0, "thaw", "window", 0.0]
    assert actions[1] == [closes_ms(1), "freeze", "window", 0.0]
    assert actions[2] == [closes_ms(22), "thaw", "window", 0.0]
    assert {act[1] for act in actions} == {"freeze", "thaw"}
    assert 7 * 24 * HOUR_MS < actions[-1][0] <= 8 * 24 * HOUR_MS


def test_window_that_stops_jobs_sends_first_close_with_grace() -> None:
    for closing in ("requeue", "terminate"):
        agent = running(hours([until(2)], closing=closing, grace_s=45.0))
        assert actions_of(agent) == [[closes_ms(2), "stop", "window", 45.0]]


def test_window_that_lets_jobs_finish_sends_no_action() -> None:
    assert actions_of(running(hours([until(2)], closing="finish"))) == []


def test_actions_of_lease_and_window_are_sorted() -> None:
    agent = AgentHarness()
    both = hours([until(2)], closing="requeue")
    agent.master_sends(agent.make_grant(1, hours=both, lease_s=1800.0))
    assert [act[2] for act in actions_of(agent)] == ["lease", "window"]


def test_nothing_starts_while_its_window_is_closed() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, hours=hours([f"{clock(3600)}-{clock(7200)}"])))
    assert agent.take_starts() == []
    agent.now = 600
    agent.execute(agent.core.check_deadlines(at(600)))
    assert agent.take_starts() == []


def test_waiting_attempt_starts_when_its_window_opens() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, hours=hours([f"{clock(300)}-{clock(7200)}"])))
    assert agent.take_starts() == []
    agent.execute(agent.core.check_deadlines(at(300)))
    assert agent.take_starts() == [1]


def test_closed_job_does_not_block_others() -> None:
    agent = AgentHarness()
    shut = hours([f"{clock(3600)}-{clock(7200)}"])
    agent.master_sends(agent.make_grant(1, hours=shut, priority=9), agent.make_grant(2))
    assert agent.take_starts() == [2]


def test_machine_level_counts_all_running_attempts() -> None:
    agent = AgentHarness(jobs=4)
    level = hours([], ["00:00-24:00 at most 2"])
    agent.master_sends(
        *(agent.make_grant(job, hours=level, command=f"c{job}") for job in (1, 2, 3))
    )
    assert agent.take_starts() == [1, 2]
    agent.run_to_end(1)
    assert agent.take_starts() == [3]


def test_command_level_counts_its_own_attempts() -> None:
    agent = AgentHarness(jobs=4)
    level = hours(["00:00-24:00 at most 1"])
    agent.master_sends(
        agent.make_grant(1, hours=level, command="transcode"),
        agent.make_grant(2, hours=level, command="transcode"),
        agent.make_grant(3, hours=level, command="backup"),
    )
    assert agent.take_starts() == [1, 3]


def test_changed_hours_replace_actions_of_running_attempt() -> None:
    agent = running(hours([until(1)]))
    agent.master_sends(m.HoursChanged(1, 1, hours([until(3)], closing="requeue")))
    assert [act[:3] for act in actions_of(agent, "acts")] == [[closes_ms(3), "stop", "window"]]
    assert agent.records[-1]["hours"]


def test_job_frozen_by_removed_hours_is_thawed() -> None:
    agent = running(hours([until(1)]))
    agent.reaper_sends({"type": "frozen", "job": 1, "n": 1, "holders": ["window"]})
    agent.master_sends(m.HoursChanged(1, 1, None))
    assert actions_of(agent, "acts") == [[0, "thaw", "window", 0.0]]


def test_clock_step_moves_actions() -> None:
    agent = running(hours([until(1)]))
    agent.execute(agent.core.check_deadlines(at(1)))
    actions_of(agent, "acts")
    # The wall clock steps half an hour forward; the steady clock does not.
    stepped = Now(at(2).wall_ms + HOUR_MS // 2, 2000, 2000)
    agent.execute(agent.core.check_deadlines(stepped))
    actions = actions_of(agent, "acts")
    assert [closes_ms(0.5), "freeze", "window", 0.0] in actions
    agent.execute(
        agent.core.check_deadlines(stepped._replace(steady_ms=2500, wall_ms=stepped.wall_ms + 500))
    )
    assert actions_of(agent, "acts") == []


def test_actions_are_refreshed_before_they_run_out() -> None:
    agent = running(hours([until(1)]))
    agent.execute(agent.core.check_deadlines(at(1)))
    actions_of(agent, "acts")
    agent.execute(agent.core.check_deadlines(at(86_402)))
    assert actions_of(agent, "acts")


def test_attempt_with_unknown_time_zone_is_returned() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, hours=hours([until(1)], zone="Mars/Olympus")))
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert "Mars/Olympus" in returned.reason


def test_stop_by_window_is_reported_by_closing_policy() -> None:
    for closing, by in (("requeue", "window"), ("terminate", "window_closed")):
        agent = running(hours([until(1)], closing=closing))
        end = agent.ended(1) | {"outcome": {"kind": "stopped", "by": "window"}}
        agent.reaper_sends(end, agent.synced())
        [ended] = [each for each in agent.send_all() if isinstance(each, m.Ended)]
        assert ended.outcome == {"kind": "stopped", "by": by}


def test_restarted_agent_sends_actions_of_hours_again() -> None:
    agent = running(hours([until(1)], closing="requeue"))
    after = AgentCore(BASE_ENVIRONMENT)
    after.restore(agent.core.take_snapshot())
    [send] = after.on_reaper_hello("r1", [agent.started(1)], (), at(10))
    [message] = [each for each in send.messages if each["type"] == "acts"]  # type: ignore[union-attr]
    assert message["acts"] == [(closes_ms(1), "stop", "window", 10.0)]


def test_user_freezes_and_thaws_running_job() -> None:
    agent = running(hours([until(1)]))
    agent.master_sends(m.Freeze(1, 1, "user", True))
    agent.master_sends(m.Freeze(1, 1, "user", False))
    sent = [(each["holder"], each["on"]) for each in agent.take_sent("freeze")]
    assert sent == [("user", True), ("user", False)]


def test_freeze_holders_are_reported_again_on_new_connection() -> None:
    agent = running(hours([until(1)]))
    agent.send_all()
    agent.master_acknowledges()
    agent.reaper_sends({"type": "frozen", "job": 1, "n": 1, "holders": ["user", "window"]})
    assert m.Frozen(1, 1, ["user", "window"]) in agent.send_all()
    agent.core.on_connected(2)
    assert m.Frozen(1, 1, ["user", "window"]) in agent.send_all()


def test_paused_job_does_not_start_until_resumed() -> None:
    agent = AgentHarness(jobs=0)
    agent.master_sends(agent.make_grant(1), m.Freeze(1, 1, "user", True))
    agent.master_sends(m.Settings(2))
    assert agent.take_starts() == []
    agent.master_sends(m.Freeze(1, 1, "user", False))
    assert agent.take_starts() == [1]


def test_attempt_whose_hours_open_too_late_is_returned_as_closed() -> None:
    # Seen: the agent kept it until its start-by time, and the master granted it again and again.
    agent = AgentHarness()
    agent.send_all()
    shut = hours([f"{clock(3600)}-{clock(7200)}"])
    agent.master_sends(
        agent.make_grant(1, hours=shut), agent.make_grant(2, hours=hours([until(1)]))
    )
    assert agent.take_starts() == [2]
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert (returned.job, returned.code) == (1, m.HOURS_CLOSED)
    assert returned.reason == "the job's run windows are closed according to this machine's clock"


def test_waiting_attempt_is_returned_when_hours_close_for_longer() -> None:
    agent = AgentHarness(jobs=1)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2, hours=hours([until(1)])))
    assert agent.take_starts() == [1]
    pause = [("pause", at(3600).wall_ms)]
    agent.master_sends(m.HoursChanged(2, 1, hours([until(1)], overrides=pause)))
    agent.run_to_end(1)
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert (returned.job, returned.code) == (2, m.HOURS_CLOSED)


def test_heartbeat_contains_wall_clock() -> None:
    agent = AgentHarness()
    agent.now = 5
    agent.execute(agent.core.on_heartbeat_due(at(5)))
    [beat] = [each for each in agent.send_all() if isinstance(each, m.Heartbeat)]
    assert beat.wall_ms == at(5).wall_ms
