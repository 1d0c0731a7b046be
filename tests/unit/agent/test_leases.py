"""Leases as the machine counts them: from the send of a heartbeat, on a clock that never stops."""

from __future__ import annotations

from typing import Any, cast

from mythjobs.agent.core.core import AgentCore
from mythjobs.protocol import messages as m
from tests.support.agent_story import BASE, Story, at

LEASE_S = 1800.0
END = 1_800_000
TOO_LATE = "the grant arrived after its start-by time"


def leased(story: Story, job: int = 1, **given: Any) -> m.Grant:
    return story.grant(job, silence="rerun", **{"lease_s": LEASE_S, "start_by_s": 900.0, **given})


def running(**given: Any) -> Story:
    """Job 1 runs on a lease that was granted under the heartbeat sent at 0."""
    story = Story()
    story.master(leased(story, **given))
    story.reaper(story.started(1))
    return story


def beat(story: Story, seconds: float) -> int:
    """A heartbeat that is sent then; its number."""
    story.now = seconds
    story.carry_out(story.core.on_heartbeat_due(at(seconds)))
    [hb] = [each.hb for each in story.said() if isinstance(each, m.Heartbeat)]
    return hb


def stop_acts(story: Story) -> list[int]:
    """The instants at which the reaper was told to end job 1 for its lease."""
    told = [act for each in story.take("acts") for act in cast(list[Any], each["acts"])]
    return [act[0] for act in told if act[1:3] == ["stop", "lease"]]


def test_the_reaper_gets_the_lease_with_the_start_and_a_kill_budget_before_its_end() -> None:
    story = Story()
    story.now = 4
    story.master(leased(story))
    [start] = story.take("start")
    # Granted at 4 s under the heartbeat that was sent at 0: it ends at 1,800 s, not at 1,804.
    assert start["acts"] == [[END - 30_000, "stop", "lease", 20.0]]


def test_a_short_lease_gives_a_short_time_to_die() -> None:
    story = Story()
    story.master(leased(story, lease_s=60.0, start_by_s=30.0))
    [start] = story.take("start")
    assert start["acts"] == [[45_000, "stop", "lease", 10.0]]


def test_a_lease_for_ever_needs_no_act() -> None:
    story = Story()
    story.master(story.grant(1))
    [start] = story.take("start")
    assert start["acts"] == []


def test_an_answered_heartbeat_lengthens_from_when_it_was_sent() -> None:
    story = running()
    hb = beat(story, 100)
    story.now = 112
    story.master(m.Renew(hb))
    assert stop_acts(story) == [100_000 + END - 30_000]


def test_heartbeats_that_nobody_answers_lengthen_nothing() -> None:
    story = running()
    beat(story, 100)
    beat(story, 105)
    story.now = 110
    story.master(m.Renew(99))
    assert stop_acts(story) == []


def test_an_older_answer_shortens_nothing() -> None:
    story = running()
    first = beat(story, 100)
    second = beat(story, 200)
    story.master(m.Renew(second))
    stop_acts(story)
    story.master(m.Renew(first))
    [attempt] = story.core.snapshot().granted.values()
    assert attempt.end_ms == 200_000 + END


def test_an_excepted_attempt_is_not_lengthened() -> None:
    story = running()
    hb = beat(story, 100)
    story.master(m.Renew(hb, [(1, 1)]))
    assert stop_acts(story) == []


def test_a_heartbeat_sent_before_the_grant_came_does_not_lengthen_it() -> None:
    # The master's note of this attempt is older than that heartbeat, which did not tell of it.
    story = Story()
    hb = beat(story, 300)
    story.master(leased(story))
    story.master(m.Renew(hb))
    [terms] = story.core.snapshot().granted.values()
    assert terms.end_ms == END


def test_a_grant_offered_again_lengthens_and_starts_nothing_twice() -> None:
    story = running()
    story.take("start")
    hb = beat(story, 300)
    story.master(leased(story, hb=hb))
    assert story.starts() == []
    assert stop_acts(story) == [300_000 + END - 30_000]


def test_small_growth_is_kept_from_reaper_and_journal() -> None:
    story = running()
    records = len(story.records)
    hb = beat(story, 5)
    story.master(m.Renew(hb))
    assert stop_acts(story) == []
    assert len(story.records) == records
    # It counts all the same: the agent's own eyes see the longer lease.
    story.carry_out(story.core.check_deadlines(at(1771)))
    assert story.take("stop") == []


def test_the_agent_ends_what_the_reaper_did_not_once() -> None:
    story = running()
    story.carry_out(story.core.check_deadlines(at(1769.9)))
    assert story.take("stop") == []
    story.carry_out(story.core.check_deadlines(at(1770)))
    story.carry_out(story.core.check_deadlines(at(1771)))
    assert [(each["job"], each["by"]) for each in story.take("stop")] == [(1, "lease")]


def test_it_is_not_started_past_its_start_by() -> None:
    story = Story(jobs=0)
    story.master(leased(story))
    story.now = 900
    story.master(m.Settings(1))
    assert story.starts() == []
    assert m.Returned(1, 1, "the job could not be started before its start-by time") in story.said()


def test_a_grant_that_comes_at_its_start_by_is_given_back() -> None:
    story = Story()
    story.now = 900
    story.master(leased(story))
    assert story.starts() == []
    assert m.Returned(1, 1, TOO_LATE) in story.said()


def test_a_grant_under_an_older_heartbeat_is_given_back() -> None:
    story = Story()
    beat(story, 5)
    story.acknowledge()
    beat(story, 10)
    story.acknowledge()
    story.master(leased(story, hb=1))
    assert story.starts() == []
    assert m.Returned(1, 1, TOO_LATE) in story.said()


def test_a_restarted_agent_goes_on_from_the_lease_that_its_reaper_has() -> None:
    story = running()
    hb = beat(story, 600)
    story.master(m.Renew(hb))
    told = stop_acts(story)

    after = AgentCore(BASE)
    after.restore(story.core.snapshot())
    after.on_reaper_hello("r1", [story.started(1)], (), at(700))
    after.finish_recovery(at(700))
    [terms] = after.snapshot().granted.values()
    assert terms.kill_ms == told[-1]
    # No heartbeat of the new agent was answered yet, and the end comes.
    assert after.check_deadlines(at(600 + 1769)) == []
    [tell] = after.check_deadlines(at(600 + 1770))
    assert tell.messages == [{"type": "stop", "job": 1, "n": 1, "by": "lease"}]  # type: ignore[union-attr]


def test_renewals_are_written_down_when_the_reaper_is_told() -> None:
    story = running()
    hb = beat(story, 600)
    story.master(m.Renew(hb))
    assert story.records[-1]["lease"] == [[1, 1, 600_000 + END]]
