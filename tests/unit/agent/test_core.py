"""Stories of the agent's core: grants, starts, ends, and what the master is told of them."""

from __future__ import annotations

from mythjobs.agent.core.turn import SendToReaper, WriteJournal
from mythjobs.protocol import messages as m
from tests.support.agent_story import Story, at


def test_a_job_goes_from_grant_to_acknowledgement() -> None:
    story = Story()
    story.master(story.grant(7))
    assert story.records == [{"grant": [[7, 1]]}]
    [start] = story.take("start")
    assert (start["to"], start["job"], start["n"], start["argv"]) == ("r1", 7, 1, ["/bin/true"])

    story.reaper(story.started(7))
    assert story.said() == [m.Started(7, 1, at(0).wall_ms)]
    story.reaper(story.ended(7), story.synced())
    [ended] = story.said()
    assert isinstance(ended, m.Ended)
    assert ended.outcome == {"kind": "exited", "code": 0}
    assert story.take("ack") == []

    # Only when the master has it, the reaper may forget it.
    story.acknowledge()
    assert story.take("ack") == [{"type": "ack", "ends": [[7, 1]], "to": "r1"}]
    assert story.held() == []


def test_a_start_that_was_not_told_before_its_end_is_not_told_at_all() -> None:
    story = Story()
    story.master(story.grant(7))
    story.run(7)
    assert [type(each) for each in story.said()] == [m.Ended]


def test_nothing_starts_before_its_grant_is_written() -> None:
    story = Story()
    story.slow_disk = True
    story.master(story.grant(1), story.grant(2))
    assert [type(each) for each in story.actions] == [WriteJournal, SendToReaper]
    assert story.starts() == [1, 2]
    story.reaper(story.started(1))
    story.said()
    # Started, but not said to be durable before it is.
    assert story.frames[-1].seen == 0
    story.disk()
    story.acknowledge()
    # One write covered both, and the next frame says so.
    assert len(story.records) == 1
    story.reaper(story.started(2))
    story.said()
    assert story.frames[-1].seen == 2


def test_starts_keep_to_the_ceiling_and_to_priority() -> None:
    story = Story(jobs=2)
    story.master(*[story.grant(job) for job in (1, 2, 3)], story.grant(4, priority=100))
    assert story.starts() == [4, 1]
    assert story.core.running_count == 2
    # A slot is free at the end, though that is not durable yet.
    story.reaper(story.started(4), story.ended(4))
    assert story.starts() == [2]
    assert [type(each) for each in story.said()] == [m.Started]
    story.reaper(story.synced())
    assert [type(each) for each in story.said()] == [m.Ended]


def test_a_ceiling_may_change_while_jobs_run() -> None:
    story = Story(jobs=1)
    story.master(*[story.grant(job) for job in (1, 2, 3)])
    assert story.starts() == [1]
    story.master(m.Settings(2))
    assert story.starts() == [2]
    story.master(m.Settings(1))
    story.run(1)
    assert story.starts() == []
    story.run(2)
    assert story.starts() == [3]


def test_the_machines_own_ceiling_is_not_exceeded() -> None:
    story = Story(jobs=8, most=1)
    story.master(story.grant(1), story.grant(2))
    assert story.starts() == [1]


def test_room_counts_what_waits() -> None:
    story = Story(jobs=4)
    assert story.frames[-1].room == 4
    story.master(story.grant(1), story.grant(2))
    story.reaper(story.started(1))
    story.said()
    assert story.frames[-1].room == 2


def test_a_grant_under_an_old_heartbeat_is_given_back() -> None:
    story = Story()
    for seconds in (5, 10):
        story.now = seconds
        story.held()
    # The last two, 2 and 3, are good.
    story.master(story.grant(1, hb=2), story.grant(2, hb=1), story.grant(3, hb=9))
    assert story.starts() == [1]
    assert story.records[-1] == {"grant": [[1, 1]], "never": [[2, 1], [3, 1]]}
    story.acknowledge()
    assert story.said() == [
        m.Returned(2, 1, "the grant arrived after its start-by time"),
        m.Returned(3, 1, "the grant arrived after its start-by time"),
    ]


def test_a_return_is_said_only_once_the_mark_is_durable() -> None:
    story = Story()
    story.slow_disk = True
    story.master(story.grant(1, hb=9))
    assert story.said() == []
    story.disk()
    assert [type(each) for each in story.said()] == [m.Returned]
    story.acknowledge()
    assert story.held() == []


def test_a_grant_past_its_start_by_is_never_started() -> None:
    story = Story(jobs=1)
    story.now = 10
    story.master(story.grant(1, start_by_s=10.0))
    assert story.starts() == []
    # Counted from the heartbeat, not from the grant: 5 s are left for the second.
    story.master(story.grant(2), story.grant(3, start_by_s=15.0))
    assert story.starts() == [2]
    story.now = 15
    story.run(2)
    assert story.starts() == []
    returned = [each for each in story.said() if isinstance(each, m.Returned)]
    assert [each.job for each in returned] == [1, 3]


def test_what_waits_too_long_is_given_back_at_the_next_heartbeat() -> None:
    story = Story(jobs=1)
    story.master(story.grant(1), story.grant(2, start_by_s=15.0))
    story.now = 15
    story.carry_out(story.core.on_heartbeat_due(at(15)))
    said = story.said()
    assert m.Returned(2, 1, "the job could not be started before its start-by time") in said


def test_a_grant_that_is_offered_again_changes_nothing() -> None:
    story = Story()
    story.master(story.grant(1))
    story.master(story.grant(1))
    story.reaper(story.started(1))
    story.master(story.grant(1))
    assert story.starts() == [1]
    assert story.core.running_count == 1


def test_a_grant_that_comes_twice_runs_once_also_when_it_is_long_over() -> None:
    # Seen: once its end was acknowledged, nothing here knew the attempt any more.
    story = Story()
    grant = story.grant(1)
    story.master(grant)
    story.run(1)
    story.said()
    story.acknowledge()
    assert story.starts() == [1]
    story.master(grant)
    assert story.starts() == []
    assert story.held() == []


def test_stop_ends_what_runs_and_bars_what_waits() -> None:
    story = Story(jobs=1)
    story.master(story.grant(1), story.grant(2))
    story.master(m.Stop(1, 1, "user"), m.Stop(2, 1, "user"))
    assert story.take("stop") == [{"type": "stop", "job": 1, "n": 1, "by": "user", "to": "r1"}]
    assert story.records[-1] == {"never": [[2, 1]]}
    assert story.said() == [m.Returned(2, 1, "stopped by user")]
    story.run(1)
    assert story.starts() == [1]


def test_stop_of_what_is_not_held_is_sworn_and_answered() -> None:
    story = Story()
    story.master(m.Stop(5, 3, "user"))
    assert story.records == [{"never": [[5, 3]]}]
    assert story.said() == [m.Returned(5, 3, "stopped by user")]


def test_stop_before_the_start_wins() -> None:
    story = Story()
    story.slow_disk = True
    story.master(story.grant(1), m.Stop(1, 1, "user"))
    story.disk()
    assert story.starts() == []
    assert story.said() == [m.Returned(1, 1, "stopped by user")]


def test_a_stale_attempt_is_stopped_or_forgotten() -> None:
    story = Story(jobs=1)
    story.slow_disk = True
    story.master(story.grant(1))
    story.disk()
    story.master(story.grant(2), story.grant(3))
    story.master(m.Stale(1, 1), m.Stale(2, 1), m.Stale(9, 9))
    story.disk()
    assert [each["by"] for each in story.take("stop")] == ["stale"]
    story.run(1)
    assert story.starts() == [1, 3]
    assert story.held() == [(1, 1, "ended"), (3, 1, "leased")]
    story.master(m.Stale(1, 1))
    assert story.take("ack") == [{"type": "ack", "ends": [[1, 1]], "to": "r1"}]
    assert story.core.running_count == 1


def test_at_most_two_frames_are_unacknowledged() -> None:
    story = Story(jobs=9)
    story.master(*[story.grant(job) for job in range(1, 6)])
    for job in (1, 2):
        story.reaper(story.started(job))
        assert len(story.said()) == 1
    for job in (3, 4):
        story.reaper(story.started(job))
        assert story.said() == []
    story.master(ack=2)
    assert [each.job for each in story.said() if isinstance(each, m.Started)] == [3, 4]


def test_a_new_connection_says_everything_again() -> None:
    story = Story(jobs=3)
    story.master(*[story.grant(job) for job in (1, 2, 3, 4)])
    story.reaper(story.started(1), story.started(2))
    story.said()
    story.acknowledge()
    story.master(story.grant(5, hb=77))
    story.run(3)
    story.said()

    story.core.on_connected(3)
    heartbeat, *rest = story.said()
    assert isinstance(heartbeat, m.Heartbeat)
    assert {(each.job, each.state) for each in heartbeat.held} == {
        (1, "running"), (2, "running"), (3, "ended"), (4, "leased"), (5, "leased"),
    }  # fmt: skip
    assert {(type(each).__name__) for each in rest} == {"Ended", "Returned"}
    assert story.frames[-1].no == 1
    assert story.frames[-1].seen == 0
    # Grants count from the new heartbeat only.
    story.master(story.grant(8, hb=1), ack=1)
    assert [each for each in story.said() if isinstance(each, m.Returned)]


def test_grants_journalled_for_an_old_connection_are_not_seen_on_the_new() -> None:
    story = Story()
    story.slow_disk = True
    story.master(story.grant(1))
    story.core.on_connected(2)
    story.disk()
    story.said()
    assert story.frames[-1].seen == 0
    assert story.starts() == [1]


def test_heartbeats_without_an_answer_are_counted() -> None:
    story = Story()
    # It acknowledges nothing either, so the third is not sent; it counts all the same.
    for _ in range(3):
        story.carry_out(story.core.on_heartbeat_due(at(0)))
        story.said()
    assert len(story.frames) == 3
    assert story.core.unanswered_heartbeats == 3
    story.master(m.Renew(2))
    assert story.core.unanswered_heartbeats == 0
    story.held()
    story.core.on_connected(2)
    assert story.core.unanswered_heartbeats == 0


# A restart of the agent.


def test_progress_is_sent_when_it_changes_and_at_most_twice_a_second() -> None:
    story = Story()
    story.master(story.grant(1, run={"progress": "percent"}))
    [start] = story.take("start")
    assert start["watch"] is True
    story.reaper(story.started(1), {"type": "grew", "job": 1, "n": 1, "output": [[5, 5, 0]]})
    assert story.followed == [(1, 1)]
    story.now = 10
    story.core.record_progress((1, 1), 10.0)
    assert m.Progress(1, 1, 10.0) in story.said()
    story.acknowledge()

    story.core.record_progress((1, 1), 10.0)
    assert story.core.next_frame_ms() is None
    story.core.record_progress((1, 1), 11.0)
    story.core.record_progress((1, 1), 12.0)
    assert story.said() == []
    assert story.core.next_frame_ms() == 10_500
    story.now = 10.5
    assert story.said() == [m.Progress(1, 1, 12.0)]


def test_the_last_progress_goes_before_the_end() -> None:
    story = Story()
    story.master(story.grant(1, run={"progress": "status"}))
    [start] = story.take("start")
    assert (start["status"], start["watch"]) == (True, False)
    lines = ["progress 42.5", "comment pass 2", "eta 310"]
    story.reaper(story.started(1), {"type": "status", "job": 1, "n": 1, "lines": lines})
    assert m.Progress(1, 1, 42.5, "pass 2", 310.0) in story.said()
    story.acknowledge()
    last = {"type": "status", "job": 1, "n": 1, "lines": ["progress 100"]}
    story.reaper(last, story.ended(1), story.synced())
    progress, ended = story.said()
    assert progress == m.Progress(1, 1, 100.0, "pass 2", 310.0)
    assert isinstance(ended, m.Ended)


def test_the_agent_that_ends_its_jobs_takes_no_more() -> None:
    story = Story(jobs=1)
    story.master(story.grant(1), story.grant(2))
    story.reaper(story.started(1))
    story.carry_out(story.core.stop_all_jobs("shutdown"))
    assert [each["by"] for each in story.take("stop")] == ["shutdown"]
    story.master(story.grant(3))
    story.run(1)
    assert story.starts() == [1]
    assert {type(each).__name__ for each in story.said()} >= {"Ended", "Returned"}
    assert story.frames[-1].room == 0
    assert story.frames[-1].draining
    story.acknowledge()
    story.said()
    story.acknowledge()
    assert story.core.unacknowledged_count == 0


def test_progress_read_from_an_end_that_is_durable_already_goes_before_it() -> None:
    # Seen under load: end and `synced` came in one read, and what the last line of the output
    # said of its progress was thrown away.
    story = Story()
    story.master(story.grant(1, run={"progress": "percent"}))
    story.run(1, output=[[10, 10, 0]])
    assert story.followed == [(1, 1)]
    story.core.record_progress((1, 1), 80.0)
    kinds = [type(each) for each in story.said()]
    assert kinds[:2] == [m.Progress, m.Ended]
