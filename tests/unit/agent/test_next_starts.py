"""Agent core: starts that the reaper has ahead, and that it carries out when other attempts end."""

from __future__ import annotations

from typing import Any

from mythjobs.agent.core.turn import Json
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at


def make_agent(*jobs: int, **given: Any) -> AgentHarness:
    """Return an agent with two slots, and a grant for each job."""
    agent = AgentHarness(**given)
    agent.answers_recalls = False
    agent.master_sends(*[agent.make_grant(job) for job in jobs])
    return agent


def ended(agent: AgentHarness, job: int, following: int) -> Json:
    return {**agent.ended(job), "next": [following, 1]}


def recalled(*jobs: int) -> Json:
    return {"type": "recalled", "attempts": [[job, 1] for job in jobs]}


def test_the_reaper_gets_a_start_for_each_slot_ahead() -> None:
    agent = make_agent(1, 2, 3, 4, 5)
    starts = agent.take_sent("start")
    assert [each["job"] for each in starts] == [1, 2, 3, 4]
    # A start that is to follow must not be later than one of the agent itself.
    assert [each.get("start_by_ms") for each in starts] == [None, None, 900_000, 900_000]
    assert agent.core.running_count == 2

    agent.reaper_sends(ended(agent, 1, 3))
    assert agent.core.running_count == 2
    assert agent.take_starts() == []
    agent.reaper_sends(ended(agent, 2, 4), ended(agent, 3, 5), agent.synced())
    assert [type(each) for each in agent.send_all()] == [m.Ended] * 3


def test_a_start_that_came_too_late_is_repeated() -> None:
    agent = make_agent(1, 2, 3, 4)
    assert agent.take_next_starts() == [3, 4]
    assert agent.take_starts() == [1, 2]
    # The reaper had no start yet when this attempt ended.
    agent.reaper_sends(agent.ended(1))
    assert agent.take_starts() == [3]
    # Meanwhile it has started that attempt itself: this takes no second slot.
    agent.reaper_sends(ended(agent, 2, 3))
    assert agent.core.running_count == 1 + 1
    assert agent.take_starts() == [4]


def test_more_slots_start_what_the_reaper_has() -> None:
    agent = make_agent(1, 2, 3, 4, 5, 6)
    agent.reaper_messages.clear()
    agent.master_sends(m.Settings(3))
    assert agent.take_starts() == [3]
    assert agent.take_next_starts() == [5, 6]


def test_fewer_slots_recall_what_the_reaper_has() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_messages.clear()
    agent.master_sends(m.Settings(1))
    assert [each["type"] for each in agent.reaper_messages] == ["recall"]
    # The reaper has started one of them before it got the recall.
    agent.reaper_sends(ended(agent, 1, 3), recalled(4))
    assert agent.core.running_count == 2
    assert agent.take_sent("start") == []
    agent.reaper_sends(agent.ended(2))
    assert agent.take_next_starts() == [4]
    agent.reaper_sends(ended(agent, 3, 4))
    assert agent.core.running_count == 1


def test_a_drained_machine_returns_what_its_reaper_has_not_started() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.send_all()
    agent.master_sends(m.Settings(2, m.Control(drained=True)))
    assert agent.send_all() == []
    agent.reaper_sends(ended(agent, 1, 3), recalled(4))
    assert agent.send_all() == [m.Returned(4, 1, "the machine is drained")]
    assert agent.core.running_count == 2


def test_stop_of_an_attempt_that_the_reaper_has() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_messages.clear()
    agent.master_sends(m.Stop(3, 1, "anna"))
    agent.master_sends(m.Stop(3, 1, "bert"))
    kinds = [each["type"] for each in agent.reaper_messages]
    assert kinds == ["recall", "stop", "stop"]
    agent.reaper_sends(recalled(3, 4))
    assert agent.send_all() == [m.Returned(3, 1, "stopped by anna")]
    assert agent.take_next_starts() == [4]


def test_stop_of_an_attempt_that_the_reaper_has_just_started() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.master_sends(m.Stop(3, 1, "anna"))
    agent.reaper_messages.clear()
    # The recall came too late for this attempt, and then the stop has ended it.
    agent.reaper_sends(ended(agent, 1, 3), recalled(4), ended(agent, 3, 4), agent.synced())
    assert [type(each) for each in agent.send_all()] == [m.Ended, m.Ended]


def test_a_stopped_attempt_does_not_start_before_the_answer_to_its_recall() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.master_sends(m.Stop(4, 1, "anna"))
    agent.take_sent("start")
    # The reaper has sent this before it got the recall: job 1 ended before it had a start to
    # follow, and job 3 was late.
    agent.reaper_sends(agent.ended(1), recalled(3))
    assert agent.take_starts() == [3]
    agent.reaper_sends(recalled(4), agent.synced())
    assert m.Returned(4, 1, "stopped by anna") in agent.send_all()


def test_a_stale_attempt_that_the_reaper_has_is_returned_and_forgotten() -> None:
    agent = make_agent(1, 2, 3)
    agent.master_sends(m.Stale(3, 1))
    agent.reaper_sends(recalled(3))
    assert agent.send_all() == [m.Returned(3, 1, "stopped by stale")]
    agent.master_sends(m.Stale(3, 1))
    assert agent.heartbeat_states() == [(1, 1, "leased"), (2, 1, "leased")]


def test_a_higher_priority_goes_before_what_the_reaper_has() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_messages.clear()
    agent.master_sends(agent.make_grant(5, priority=1), agent.make_grant(6))
    assert [each["type"] for each in agent.reaper_messages] == ["recall"]
    agent.reaper_sends(recalled(3, 4))
    assert agent.take_next_starts() == [5, 3]


def test_an_attempt_with_terms_is_not_sent_ahead_and_not_overtaken() -> None:
    agent = make_agent(1, 2)
    agent.master_sends(agent.make_grant(3, lease_s=600.0))
    agent.master_sends(agent.make_grant(4))
    assert agent.take_next_starts() == []
    agent.reaper_sends(agent.ended(1))
    assert agent.take_starts() == [1, 2, 3]
    assert agent.take_next_starts() == [4]


def test_changes_reach_an_attempt_that_the_reaper_has() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_messages.clear()
    limits = m.LimitsChanged(3, 1, wall_s=9.0, grace_s=1.0)
    agent.master_sends(limits, m.Freeze(4, 1, "user", True))
    # Each message is for an attempt that the reaper has started before the recall.
    kinds = [each["type"] for each in agent.reaper_messages]
    assert kinds == ["recall", "limits", "freeze"]
    agent.reaper_messages.clear()
    agent.reaper_sends(recalled(3, 4))
    # Job 4 is paused, so it waits.
    [start] = agent.reaper_messages
    assert (start["job"], start["wall_s"]) == (3, 9.0)
    agent.master_sends(m.Freeze(4, 1, "user", False))
    assert agent.take_next_starts() == [3, 4]


def test_starts_that_would_be_late_are_recalled() -> None:
    agent = make_agent(1, 2, 3)
    agent.now = 900.0
    agent.reaper_messages.clear()
    agent.heartbeat_states()
    assert [each["type"] for each in agent.reaper_messages] == ["recall"]
    agent.reaper_sends(recalled(3))
    [returned] = agent.send_all()
    assert isinstance(returned, m.Returned)
    assert "start-by time" in returned.reason


def test_a_new_connection_to_the_reaper_ends_what_was_sent_ahead() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.master_sends(m.Stop(4, 1, "anna"))
    agent.reaper_messages.clear()
    # It had started job 3 when the connection broke, and has dropped job 4.
    agent.reaper_connects("r1", agent.ended(1), agent.started(2), starting=[(3, 1)])
    assert agent.take_starts() == [3]  # which it ignores
    assert agent.core.running_count == 2
    assert m.Returned(4, 1, "stopped by anna") in agent.send_all()


def test_attempts_that_a_dead_reaper_has_not_started_start_in_the_next_one() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_messages.clear()
    agent.reaper_dies(agent.ended(1), agent.ended(2), agent.ended(3))
    agent.reaper_connects("r2")
    agent.execute(agent.core.set_start_reaper("r2", at(0)))
    [start] = agent.take_sent("start")
    assert (start["job"], start["to"]) == (4, "r2")
    assert "start_by_ms" not in start


def test_an_agent_that_stops_its_jobs_starts_no_more() -> None:
    agent = make_agent(1, 2, 3)
    agent.reaper_messages.clear()
    agent.execute(agent.core.stop_all_jobs("shutdown"))
    kinds = [each["type"] for each in agent.reaper_messages]
    assert kinds == ["stop", "stop", "recall", "stop"]
    agent.reaper_sends(recalled(3), agent.ended(1), agent.ended(2), agent.synced())
    assert agent.core.running_count == 0
    assert m.Returned(3, 1, "stopped by shutdown") in agent.send_all()


def test_an_attempt_that_is_late_does_not_answer_the_recall_of_the_others() -> None:
    agent = AgentHarness()
    agent.answers_recalls = False
    late = agent.make_grant(3, start_by_s=10.0)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2), late, agent.make_grant(4))
    assert agent.take_starts() == [1, 2]
    agent.now = 20.0
    agent.master_sends(m.Stop(4, 1, "anna"))
    # The reaper gives back the first one before it gets the recall of both.
    agent.reaper_sends(agent.ended(1), {**recalled(3), "late": True})
    assert agent.take_starts() == []
    agent.reaper_sends(recalled(4))
    assert m.Returned(4, 1, "stopped by anna") in agent.send_all()
    assert agent.core.running_count == 1


def test_a_stop_holds_although_its_reaper_died_before_the_start() -> None:
    agent = make_agent(1, 2, 3)
    agent.master_sends(m.Stop(1, 1, "anna"), m.Stop(3, 1, "anna"))
    agent.reaper_messages.clear()
    agent.reaper_dies()
    agent.reaper_connects("r2")
    agent.execute(agent.core.set_start_reaper("r2", at(0)))
    assert agent.take_starts() == [2]
    returned = {each.job for each in agent.send_all() if isinstance(each, m.Returned)}
    assert returned == {1, 3}


def test_stops_are_repeated_on_a_new_connection_to_the_reaper() -> None:
    agent = make_agent(1, 2, 3, 4)
    agent.reaper_sends(agent.started(1), agent.started(2))
    agent.master_sends(*[m.Stop(job, 1, "anna") for job in (1, 3, 4)])
    agent.reaper_messages.clear()
    # The connection broke with the stops, after the reaper had started job 3.
    agent.reaper_connects("r1", agent.started(1), agent.started(2), starting=[(3, 1)])
    stops = [(each["job"], each["by"]) for each in agent.take_sent("stop")]
    assert stops == [(1, "anna"), (3, "anna")]
    assert m.Returned(4, 1, "stopped by anna") in agent.send_all()
