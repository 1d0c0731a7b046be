"""Run windows as the machine keeps them by itself: starts, closings and openings, frozen jobs."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from mythjobs.agent.core.core import AgentCore
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from tests.support.agent_story import BASE, Story, at

HOUR_MS = 3_600_000


def clock(seconds: float) -> str:
    """The time of day, UTC, so many seconds after the story's beginning."""
    when = dt.datetime.fromtimestamp(at(seconds).wall_ms / 1000, dt.UTC)
    return f"{when:%H:%M}"


def until(hours: float) -> str:
    """Open from two hours before the story's beginning until so many after it."""
    return f"{clock(-7200)}-{clock(3600 * hours)}"


def closes_ms(hours: float) -> int:
    """When `until(hours)` closes, on the story's steady clock: the minute is cut off."""
    return int(hours * HOUR_MS) - at(0).wall_ms % 60_000


def hours(*sets: list[str], closing: str = "freeze", **given: Any) -> m.Hours:
    all_sets = [*sets, *([] for _ in range(3 - len(sets)))]
    return m.Hours(all_sets, closing=closing, **given)


def acts_of(story: Story, kind: str = "start") -> list[Any]:
    return [act for each in story.take(kind) for act in cast(list[Any], each["acts"])]


def running(said: m.Hours) -> Story:
    story = Story()
    story.master(story.grant(1, hours=said, command="transcode"))
    story.reaper(story.started(1))
    return story


def test_a_freezing_window_is_told_close_and_open_for_eight_days() -> None:
    story = running(hours([until(1)]))
    acts = acts_of(story)
    assert acts[0] == [0, "thaw", "window", 0.0]
    assert acts[1] == [closes_ms(1), "freeze", "window", 0.0]
    assert acts[2] == [closes_ms(22), "thaw", "window", 0.0]
    assert {act[1] for act in acts} == {"freeze", "thaw"}
    assert 7 * 24 * HOUR_MS < acts[-1][0] <= 8 * 24 * HOUR_MS


def test_a_window_that_ends_jobs_is_told_the_first_close_with_its_grace() -> None:
    for closing in ("requeue", "terminate"):
        story = running(hours([until(2)], closing=closing, grace_s=45.0))
        assert acts_of(story) == [[closes_ms(2), "stop", "window", 45.0]]


def test_a_window_that_lets_jobs_finish_is_no_act() -> None:
    assert acts_of(running(hours([until(2)], closing="finish"))) == []


def test_lease_and_window_stand_in_one_list_in_their_order() -> None:
    story = Story()
    said = hours([until(2)], closing="requeue")
    story.master(story.grant(1, hours=said, lease_s=1800.0))
    assert [act[2] for act in acts_of(story)] == ["lease", "window"]


def test_nothing_is_started_while_its_window_is_closed() -> None:
    story = Story()
    story.master(story.grant(1, hours=hours([f"{clock(3600)}-{clock(7200)}"])))
    assert story.starts() == []
    story.now = 600
    story.carry_out(story.core.check_deadlines(at(600)))
    assert story.starts() == []


def test_what_waits_starts_by_itself_when_its_window_opens() -> None:
    story = Story()
    story.master(story.grant(1, hours=hours([f"{clock(300)}-{clock(7200)}"])))
    assert story.starts() == []
    story.carry_out(story.core.check_deadlines(at(300)))
    assert story.starts() == [1]


def test_a_closed_job_keeps_no_other_from_starting() -> None:
    story = Story()
    shut = hours([f"{clock(3600)}-{clock(7200)}"])
    story.master(story.grant(1, hours=shut, priority=9), story.grant(2))
    assert story.starts() == [2]


def test_the_level_of_the_machine_counts_everything_that_runs_there() -> None:
    story = Story(jobs=4)
    level = hours([], ["00:00-24:00 at most 2"])
    story.master(*(story.grant(job, hours=level, command=f"c{job}") for job in (1, 2, 3)))
    assert story.starts() == [1, 2]
    story.run(1)
    assert story.starts() == [3]


def test_the_level_of_a_command_counts_its_own() -> None:
    story = Story(jobs=4)
    level = hours(["00:00-24:00 at most 1"])
    story.master(
        story.grant(1, hours=level, command="transcode"),
        story.grant(2, hours=level, command="transcode"),
        story.grant(3, hours=level, command="backup"),
    )
    assert story.starts() == [1, 3]


def test_other_hours_replace_the_acts_of_what_runs() -> None:
    story = running(hours([until(1)]))
    story.master(m.HoursChanged(1, 1, hours([until(3)], closing="requeue")))
    assert [act[:3] for act in acts_of(story, "acts")] == [[closes_ms(3), "stop", "window"]]
    assert story.records[-1]["hours"]


def test_a_job_frozen_by_hours_that_are_no_more_goes_on() -> None:
    story = running(hours([until(1)]))
    story.reaper({"type": "frozen", "job": 1, "n": 1, "holders": ["window"]})
    story.master(m.HoursChanged(1, 1, None))
    assert acts_of(story, "acts") == [[0, "thaw", "window", 0.0]]


def test_a_clock_that_steps_moves_the_acts() -> None:
    story = running(hours([until(1)]))
    story.carry_out(story.core.check_deadlines(at(1)))
    acts_of(story, "acts")
    # Half an hour forward on the wall, nothing on the steady clock.
    stepped = Now(at(2).wall_ms + HOUR_MS // 2, 2000, 2000)
    story.carry_out(story.core.check_deadlines(stepped))
    acts = acts_of(story, "acts")
    assert [closes_ms(0.5), "freeze", "window", 0.0] in acts
    story.carry_out(
        story.core.check_deadlines(stepped._replace(steady_ms=2500, wall_ms=stepped.wall_ms + 500))
    )
    assert acts_of(story, "acts") == []


def test_the_acts_are_told_anew_before_they_run_out() -> None:
    story = running(hours([until(1)]))
    story.carry_out(story.core.check_deadlines(at(1)))
    acts_of(story, "acts")
    story.carry_out(story.core.check_deadlines(at(86_402)))
    assert acts_of(story, "acts")


def test_a_zone_that_is_not_known_here_gives_the_job_back() -> None:
    story = Story()
    story.master(story.grant(1, hours=hours([until(1)], zone="Mars/Olympus")))
    [returned] = [each for each in story.said() if isinstance(each, m.Returned)]
    assert "Mars/Olympus" in returned.reason


def test_a_job_stopped_by_its_window_is_told_as_what_its_closing_means() -> None:
    for closing, by in (("requeue", "window"), ("terminate", "window_closed")):
        story = running(hours([until(1)], closing=closing))
        end = story.ended(1) | {"outcome": {"kind": "stopped", "by": "window"}}
        story.reaper(end, story.synced())
        [ended] = [each for each in story.said() if isinstance(each, m.Ended)]
        assert ended.outcome == {"kind": "stopped", "by": by}


def test_hours_survive_the_agent_and_go_to_the_reaper_again() -> None:
    story = running(hours([until(1)], closing="requeue"))
    after = AgentCore(BASE)
    after.restore(story.core.snapshot())
    [tell] = after.on_reaper_hello("r1", [story.started(1)], (), at(10))
    [acts] = [each for each in tell.messages if each["type"] == "acts"]  # type: ignore[union-attr]
    assert acts["acts"] == [(closes_ms(1), "stop", "window", 10.0)]


def test_a_user_freezes_and_thaws_what_runs() -> None:
    story = running(hours([until(1)]))
    story.master(m.Freeze(1, 1, "user", True))
    story.master(m.Freeze(1, 1, "user", False))
    told = [(each["holder"], each["on"]) for each in story.take("freeze")]
    assert told == [("user", True), ("user", False)]


def test_the_master_is_told_who_freezes_and_again_on_a_new_connection() -> None:
    story = running(hours([until(1)]))
    story.said()
    story.acknowledge()
    story.reaper({"type": "frozen", "job": 1, "n": 1, "holders": ["user", "window"]})
    assert m.Frozen(1, 1, ["user", "window"]) in story.said()
    story.core.on_connected(2)
    assert m.Frozen(1, 1, ["user", "window"]) in story.said()


def test_a_paused_job_does_not_start_until_it_is_let_go() -> None:
    story = Story(jobs=0)
    story.master(story.grant(1), m.Freeze(1, 1, "user", True))
    story.master(m.Settings(2))
    assert story.starts() == []
    story.master(m.Freeze(1, 1, "user", False))
    assert story.starts() == [1]


def test_what_opens_too_late_to_be_started_is_given_back_as_closed() -> None:
    # Seen: it was kept until its start-by, and the master granted it again, attempt by attempt.
    story = Story()
    story.said()
    shut = hours([f"{clock(3600)}-{clock(7200)}"])
    story.master(story.grant(1, hours=shut), story.grant(2, hours=hours([until(1)])))
    assert story.starts() == [2]
    [returned] = [each for each in story.said() if isinstance(each, m.Returned)]
    assert (returned.job, returned.code) == (1, m.CLOSED)
    assert returned.reason == "the job's hours are closed by this machine's clock"


def test_what_waits_is_given_back_when_it_is_closed_for_longer() -> None:
    story = Story(jobs=1)
    story.master(story.grant(1), story.grant(2, hours=hours([until(1)])))
    assert story.starts() == [1]
    pause = [("pause", at(3600).wall_ms)]
    story.master(m.HoursChanged(2, 1, hours([until(1)], overrides=pause)))
    story.run(1)
    [returned] = [each for each in story.said() if isinstance(each, m.Returned)]
    assert (returned.job, returned.code) == (2, m.CLOSED)


def test_a_heartbeat_tells_the_clock_by_which_hours_are_kept() -> None:
    story = Story()
    story.now = 5
    story.carry_out(story.core.on_heartbeat_due(at(5)))
    [beat] = [each for each in story.said() if isinstance(each, m.Heartbeat)]
    assert beat.wall_ms == at(5).wall_ms
