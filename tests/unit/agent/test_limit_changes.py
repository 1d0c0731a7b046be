"""Limits that an owner changes reach what this machine has, whether it runs or not."""

from __future__ import annotations

from mythjobs.protocol import messages as m
from tests.support.agent_story import Story


def test_what_runs_has_its_limits_changed_by_its_reaper() -> None:
    story = Story()
    story.master(story.grant(1, run={"wall_s": 60.0, "processes": 9}))
    story.reaper(story.started(1))
    story.master(m.LimitsChanged(1, 1, wall_s=600.0, memory_bytes=2**20, grace_s=5.0))
    [told] = story.take("limits")
    assert told == {
        "type": "limits", "to": "r1", "job": 1, "n": 1, "wall_s": 600.0, "cpu_s": None,
        "idle_s": None, "memory_bytes": 2**20, "output_bytes": None, "processes": None,
        "grace_s": 5.0,
    }  # fmt: skip


def test_what_waits_starts_with_the_limits_of_then() -> None:
    story = Story(jobs=0)
    story.master(story.grant(1, run={"wall_s": 60.0, "nice": 5}), m.LimitsChanged(1, 1, cpu_s=7.0))
    assert story.take("limits") == []
    story.master(m.Settings(1))
    [start] = story.take("start")
    assert (start["wall_s"], start["cpu_s"], start["nice"]) == (None, 7.0, 5)


def test_limits_of_what_is_not_here_change_nothing() -> None:
    story = Story()
    story.master(story.grant(1))
    story.run(1)
    story.master(m.LimitsChanged(1, 1, wall_s=1.0), m.LimitsChanged(9, 1, wall_s=1.0))
    assert story.take("limits") == []
