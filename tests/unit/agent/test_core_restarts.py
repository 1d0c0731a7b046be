"""What a new agent, or one whose reaper died, makes of what it finds."""

from __future__ import annotations

from mythjobs.agent.core.attempt import JournalSnapshot
from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms
from mythjobs.agent.core.outcome import MACHINE_RESTARTED, REAPER_DIED, LostAttempt
from mythjobs.protocol import messages as m
from tests.support.agent_story import Story, at


def restarted(found: JournalSnapshot, *, hello: list[dict[str, object]] | None = None) -> Story:
    story = Story(connect=False)
    story.core.restore(found)
    story.hello("r1", *(hello or []))
    return story


def test_a_new_agent_adopts_what_runs_and_gives_back_what_never_started() -> None:
    story = restarted(
        JournalSnapshot(
            {(1, 1): LeaseTerms("ffmpeg"), (2, 1): NO_TERMS, (3, 1): NO_TERMS}, [(4, 1)], set()
        ),
        hello=[Story().started(1), Story().ended(2)],
    )
    story.carry_out(story.core.finish_recovery(at(0)))
    # Its progress is read on.
    assert story.take("watch") == [{"type": "watch", "job": 1, "n": 1, "on": True, "to": "r1"}]
    assert story.records == [{"never": [[3, 1]]}]
    story.core.on_connected(2)
    heartbeat, *rest = story.said()
    assert isinstance(heartbeat, m.Heartbeat)
    assert {(each.job, each.state) for each in heartbeat.held} == {
        (1, "running"), (2, "running"), (3, "leased"), (4, "leased"),
    }  # fmt: skip
    assert rest == [
        m.Started(1, 1, at(0).wall_ms),
        m.Returned(3, 1, "the agent restarted before the job was started"),
        m.Returned(4, 1, "returned before the agent restarted"),
    ]
    # The end of 2 is durable only when the reaper says so.
    story.acknowledge()
    story.reaper({"type": "synced", "seq": 1})
    assert [type(each) for each in story.said()] == [m.Ended]
    assert story.starts() == []


def test_what_the_reaper_is_about_to_start_is_not_given_back() -> None:
    story = Story(connect=False)
    story.core.restore(JournalSnapshot({(1, 1): NO_TERMS}, [], set()))
    story.hello("r1", starting=[(1, 1)])
    story.carry_out(story.core.finish_recovery(at(0)))
    assert story.records == []
    story.core.on_connected(1)
    story.reaper(story.started(1))
    assert story.core.running_count == 1
    assert m.Started(1, 1, at(0).wall_ms) in story.said()


def test_an_attempt_that_no_journal_of_ours_knows_is_adopted() -> None:
    story = restarted(JournalSnapshot({}, [], set()), hello=[Story().started(6, 2)])
    story.carry_out(story.core.finish_recovery(at(0)))
    assert story.core.running_count == 1
    story.core.on_connected(2)
    assert story.held() == [(6, 2, "running")]


def test_after_a_restart_of_the_machine_nothing_is_started_and_all_is_lost() -> None:
    story = Story(connect=False)
    story.core.restore(JournalSnapshot({(1, 1): NO_TERMS, (2, 1): NO_TERMS}, [], {(1, 1), (2, 1)}))
    # The journal of its dead reaper has the end of one.
    story.reaper_dies(story.ended(2, code=3), reaper="r0")
    story.carry_out(story.core.finish_recovery(at(0)))
    story.core.on_connected(2)
    _, *ends = story.said()
    assert {each.job: each.outcome for each in ends if isinstance(each, m.Ended)} == {
        1: {"kind": "lost", "why": MACHINE_RESTARTED},
        2: {"kind": "exited", "code": 3},
    }
    assert story.starts() == []
    assert set(story.core.snapshot().maybe_started) == {(1, 1), (2, 1)}
    story.acknowledge()
    assert story.buried == ["r0"]
    assert story.core.snapshot() == JournalSnapshot({}, [], [])


# The death of a reaper.


def test_what_a_dead_reaper_ran_is_lost_and_what_it_had_not_begun_starts_elsewhere() -> None:
    story = Story(jobs=4)
    story.master(*[story.grant(job) for job in (1, 2, 3, 4)])
    story.reaper(story.started(1), story.started(2), story.started(3))
    story.reaper(story.ended(2), story.ended(3))
    story.said()
    story.acknowledge()
    assert story.starts() == [1, 2, 3, 4]

    # Of the two ends it had written one; we have heard the other, which is as good.
    left = [LostAttempt((1, 1), 5, [(3, 3, 0)], "no process of its session is left"),
            LostAttempt((3, 1), 5, [], "…")]  # fmt: skip
    story.reaper_dies(story.ended(2), left=left)
    assert story.core.running_count == 0
    story.hello("r2")
    story.carry_out(story.core.set_start_reaper("r2", at(0)))
    assert [each["to"] for each in story.take("start")] == ["r2"]
    said = {each.job: each for each in story.said() if isinstance(each, m.Ended)}
    assert said[1].outcome == {"kind": "lost", "why": REAPER_DIED}
    assert said[1].proof == "no process of its session is left"
    assert said[3].outcome == {"kind": "exited", "code": 0}
    assert set(said) == {1, 2, 3}

    # Its journal goes when the master has all of it, and the output too.
    story.acknowledge()
    assert story.buried == []
    story.master(m.OutputKept(1, 1, 1))
    assert story.buried == ["r1"]
    assert story.take("ack") == []


def test_a_reaper_that_left_nothing_is_buried_at_once() -> None:
    story = Story()
    story.reaper_dies()
    assert story.buried == ["r1"]
    story.master(story.grant(1))
    assert story.starts() == []  # none is there to start it
    story.hello("r2")
    story.carry_out(story.core.set_start_reaper("r2", at(0)))
    assert story.starts() == [1]


def test_a_running_job_whose_journal_is_gone_is_lost_without_a_proof() -> None:
    story = Story()
    story.master(story.grant(1))
    story.reaper(story.started(1))
    story.reaper_dies()
    [ended] = [each for each in story.said() if isinstance(each, m.Ended)]
    assert ended.outcome["kind"] == "lost"
    assert ended.proof == ""


def test_a_broken_connection_to_a_living_reaper_loses_no_start() -> None:
    story = Story()
    story.master(story.grant(1), story.grant(2))
    assert story.starts() == [1, 2]
    # It has the first only; to say a start twice does no harm.
    story.hello("r1", story.started(1))
    assert story.starts() == [2]
    assert story.core.running_count == 2


# Progress, and the end of the agent.
