"""Agent core: grants, starts and ends, and their messages to the master."""

from __future__ import annotations

from mythjobs.agent.core.turn import SendToReaper, WriteJournal
from mythjobs.model.progress_formats import Reading
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at


def test_attempt_from_grant_to_acknowledgement() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(7))
    assert agent.records == [{"grant": [[7, 1]]}]
    [start] = agent.take_sent("start")
    assert (start["to"], start["job"], start["n"], start["argv"]) == ("r1", 7, 1, ["/bin/true"])

    agent.reaper_sends(agent.started(7))
    assert agent.send_all() == [m.Started(7, 1, at(0).wall_ms)]
    agent.reaper_sends(agent.ended(7), agent.synced())
    [ended] = agent.send_all()
    assert isinstance(ended, m.Ended)
    assert ended.outcome == {"kind": "exited", "code": 0}
    assert agent.take_sent("ack") == []

    # The reaper may forget the end once the master has acknowledged it.
    agent.master_acknowledges()
    assert agent.take_sent("ack") == [{"type": "ack", "ends": [[7, 1]], "to": "r1"}]
    assert agent.heartbeat_states() == []


def test_start_is_not_reported_after_the_end() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(7))
    agent.run_to_end(7)
    assert [type(each) for each in agent.send_all()] == [m.Ended]


def test_a_grant_with_terms_starts_once_its_record_is_written() -> None:
    agent = AgentHarness(jobs=3)
    agent.slow_disk = True
    leased = agent.make_grant(1, lease_s=600.0)
    agent.master_sends(leased, agent.make_grant(2), agent.make_grant(3, lease_s=600.0))
    # If the agent is killed now, a reaper tells the next agent of job 2, but not of a lease.
    assert agent.take_starts() == [2]
    [write] = [each for each in agent.actions if isinstance(each, WriteJournal)]
    assert write.is_urgent
    agent.master_sends(m.Stop(3, 1, "user"))
    agent.sync_journal()
    assert agent.take_starts() == [1]
    # One record covered the three grants. A grant again only renews the lease.
    agent.master_sends(agent.make_grant(1, lease_s=600.0))
    agent.sync_journal()
    assert agent.take_starts() == []


def test_a_grant_is_acknowledged_once_its_record_is_durable() -> None:
    agent = AgentHarness()
    agent.slow_disk = True
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    assert [type(each) for each in agent.actions] == [SendToReaper, WriteJournal]
    assert agent.take_starts() == [1, 2]
    agent.reaper_sends(agent.started(1))
    agent.send_all()
    # The start is reported, but the grant is not durable yet.
    assert agent.frames[-1].seen == 0
    agent.sync_journal()
    agent.master_acknowledges()
    # One write covered both grants, which the next frame acknowledges.
    assert len(agent.records) == 1
    agent.reaper_sends(agent.started(2))
    agent.send_all()
    assert agent.frames[-1].seen == 2


def test_starts_follow_job_limit_and_priority() -> None:
    agent = AgentHarness(jobs=2)
    agent.master_sends(
        *[agent.make_grant(job) for job in (1, 2, 3)], agent.make_grant(4, priority=100)
    )
    assert agent.take_starts() == [4, 1]
    assert agent.core.running_count == 2
    # The end frees its slot before it is durable.
    agent.reaper_sends(agent.started(4), agent.ended(4))
    assert agent.take_starts() == [2]
    assert [type(each) for each in agent.send_all()] == [m.Started]
    agent.reaper_sends(agent.synced())
    assert [type(each) for each in agent.send_all()] == [m.Ended]


def test_job_limit_may_change_while_jobs_run() -> None:
    agent = AgentHarness(jobs=1)
    agent.master_sends(*[agent.make_grant(job) for job in (1, 2, 3)])
    assert agent.take_starts() == [1]
    agent.master_sends(m.Settings(2))
    assert agent.take_starts() == [2]
    agent.master_sends(m.Settings(1))
    agent.run_to_end(1)
    assert agent.take_starts() == []
    agent.run_to_end(2)
    assert agent.take_starts() == [3]


def test_job_limit_of_the_machine_is_not_exceeded() -> None:
    agent = AgentHarness(jobs=8, jobs_limit=1)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    assert agent.take_starts() == [1]


def test_room_counts_waiting_attempts() -> None:
    agent = AgentHarness(jobs=4)
    assert agent.frames[-1].room == 4
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    agent.reaper_sends(agent.started(1))
    agent.send_all()
    assert agent.frames[-1].room == 2


def test_grant_under_old_heartbeat_is_returned() -> None:
    agent = AgentHarness()
    for seconds in (5, 10):
        agent.now = seconds
        agent.heartbeat_states()
    # The last two heartbeats, 2 and 3, are valid.
    agent.master_sends(
        agent.make_grant(1, hb=2), agent.make_grant(2, hb=1), agent.make_grant(3, hb=9)
    )
    assert agent.take_starts() == [1]
    assert agent.records[-1] == {"grant": [[1, 1]], "never": [[2, 1], [3, 1]]}
    agent.master_acknowledges()
    assert agent.send_all() == [
        m.Returned(2, 1, "the grant arrived after its start-by time"),
        m.Returned(3, 1, "the grant arrived after its start-by time"),
    ]


def test_return_is_reported_once_its_record_is_durable() -> None:
    agent = AgentHarness()
    agent.slow_disk = True
    agent.master_sends(agent.make_grant(1, hb=9))
    assert agent.send_all() == []
    agent.sync_journal()
    assert [type(each) for each in agent.send_all()] == [m.Returned]
    agent.master_acknowledges()
    assert agent.heartbeat_states() == []


def test_grant_past_its_start_by_is_never_started() -> None:
    agent = AgentHarness(jobs=1)
    agent.now = 10
    agent.master_sends(agent.make_grant(1, start_by_s=10.0))
    assert agent.take_starts() == []
    # Counted from the heartbeat, not from the grant: the second has 5 s left.
    agent.master_sends(agent.make_grant(2), agent.make_grant(3, start_by_s=15.0))
    assert agent.take_starts() == [2]
    agent.now = 15
    agent.run_to_end(2)
    assert agent.take_starts() == []
    returned = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert [each.job for each in returned] == [1, 3]


def test_waiting_attempt_past_start_by_is_returned_at_next_heartbeat() -> None:
    agent = AgentHarness(jobs=1)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2, start_by_s=15.0))
    agent.now = 15
    agent.execute(agent.core.on_heartbeat_due(at(15)))
    sent = agent.send_all()
    assert m.Returned(2, 1, "the job could not be started before its start-by time") in sent


def test_repeated_grant_changes_nothing() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.master_sends(agent.make_grant(1))
    agent.reaper_sends(agent.started(1))
    agent.master_sends(agent.make_grant(1))
    assert agent.take_starts() == [1]
    assert agent.core.running_count == 1


def test_repeated_grant_of_forgotten_attempt_does_not_run_again() -> None:
    # Seen: after the acknowledgement of its end the agent no longer knew the attempt.
    agent = AgentHarness()
    grant = agent.make_grant(1)
    agent.master_sends(grant)
    agent.run_to_end(1)
    agent.send_all()
    agent.master_acknowledges()
    assert agent.take_starts() == [1]
    agent.master_sends(grant)
    assert agent.take_starts() == []
    assert agent.heartbeat_states() == []


def test_stop_ends_running_and_bars_waiting_attempts() -> None:
    agent = AgentHarness(jobs=1)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    agent.master_sends(m.Stop(1, 1, "user"), m.Stop(2, 1, "user"))
    stop = {"type": "stop", "job": 1, "n": 1, "by": "user", "to": "r1"}
    # The second is for the case that the reaper has started it meanwhile.
    assert agent.take_sent("stop") == [stop, {**stop, "job": 2}]
    assert agent.records[-1] == {"never": [[2, 1]]}
    assert agent.send_all() == [m.Returned(2, 1, "stopped by user")]
    agent.run_to_end(1)
    assert agent.take_starts() == [1]


def test_stop_of_unknown_attempt_is_recorded_and_answered() -> None:
    agent = AgentHarness()
    agent.master_sends(m.Stop(5, 3, "user"))
    assert agent.records == [{"never": [[5, 3]]}]
    assert agent.send_all() == [m.Returned(5, 3, "stopped by user")]


def test_stop_before_start_prevents_it() -> None:
    agent = AgentHarness()
    agent.slow_disk = True
    agent.master_sends(agent.make_grant(1), m.Stop(1, 1, "user"))
    agent.sync_journal()
    assert agent.take_starts() == []
    assert agent.send_all() == [m.Returned(1, 1, "stopped by user")]


def test_stale_attempt_is_stopped_or_forgotten() -> None:
    agent = AgentHarness(jobs=1)
    agent.slow_disk = True
    agent.master_sends(agent.make_grant(1))
    agent.sync_journal()
    agent.master_sends(agent.make_grant(2), agent.make_grant(3))
    agent.master_sends(m.Stale(1, 1), m.Stale(2, 1), m.Stale(9, 9))
    agent.sync_journal()
    assert [each["by"] for each in agent.take_sent("stop")] == ["stale", "stale"]
    agent.run_to_end(1)
    assert agent.take_starts() == [1, 3]
    # The reaper might have started job 2, so it is returned, and forgotten after that.
    assert agent.heartbeat_states() == [(1, 1, "ended"), (2, 1, "leased"), (3, 1, "leased")]
    agent.master_sends(m.Stale(1, 1), m.Stale(2, 1))
    assert agent.take_sent("ack") == [{"type": "ack", "ends": [[1, 1]], "to": "r1"}]
    assert agent.core.running_count == 1


def test_at_most_two_frames_are_unacknowledged() -> None:
    agent = AgentHarness(jobs=9)
    agent.master_sends(*[agent.make_grant(job) for job in range(1, 6)])
    for job in (1, 2):
        agent.reaper_sends(agent.started(job))
        assert len(agent.send_all()) == 1
    for job in (3, 4):
        agent.reaper_sends(agent.started(job))
        assert agent.send_all() == []
    agent.master_sends(ack=2)
    assert [each.job for each in agent.send_all() if isinstance(each, m.Started)] == [3, 4]


def test_new_connection_reports_everything_again() -> None:
    agent = AgentHarness(jobs=3)
    agent.master_sends(*[agent.make_grant(job) for job in (1, 2, 3, 4)])
    agent.reaper_sends(agent.started(1), agent.started(2))
    agent.send_all()
    agent.master_acknowledges()
    agent.master_sends(agent.make_grant(5, hb=77))
    agent.run_to_end(3)
    agent.send_all()

    agent.core.on_connected(3)
    heartbeat, *rest = agent.send_all()
    assert isinstance(heartbeat, m.Heartbeat)
    assert {(each.job, each.state) for each in heartbeat.held} == {
        (1, "running"), (2, "running"), (3, "ended"), (4, "leased"), (5, "leased"),
    }  # fmt: skip
    assert {(type(each).__name__) for each in rest} == {"Ended", "Returned"}
    assert agent.frames[-1].no == 1
    assert agent.frames[-1].seen == 0
    # Grants are valid only under heartbeats of the new connection.
    agent.master_sends(agent.make_grant(8, hb=1), ack=1)
    assert [each for each in agent.send_all() if isinstance(each, m.Returned)]


def test_grants_of_old_connection_are_not_acknowledged_on_the_new() -> None:
    agent = AgentHarness()
    agent.slow_disk = True
    agent.master_sends(agent.make_grant(1))
    agent.core.on_connected(2)
    agent.sync_journal()
    agent.send_all()
    assert agent.frames[-1].seen == 0
    assert agent.take_starts() == [1]


def test_unanswered_heartbeats_are_counted() -> None:
    agent = AgentHarness()
    # Without acknowledgements the third is not sent, but counted.
    for _ in range(3):
        agent.execute(agent.core.on_heartbeat_due(at(0)))
        agent.send_all()
    assert len(agent.frames) == 3
    assert agent.core.unanswered_heartbeats == 3
    agent.master_sends(m.Renew(2))
    assert agent.core.unanswered_heartbeats == 0
    agent.heartbeat_states()
    agent.core.on_connected(2)
    assert agent.core.unanswered_heartbeats == 0


# Progress, and the end of the agent.


def test_progress_is_sent_when_it_changes_and_at_most_twice_a_second() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"progress": "percent"}))
    [start] = agent.take_sent("start")
    assert start["watch"] is True
    agent.reaper_sends(agent.started(1), {"type": "grew", "job": 1, "n": 1, "output": [[5, 5, 0]]})
    assert agent.output_reads == [(1, 1)]
    agent.now = 10
    agent.core.record_progress((1, 1), Reading(10.0), at(agent.now))
    assert m.Progress(1, 1, 10.0) in agent.send_all()
    agent.master_acknowledges()

    agent.core.record_progress((1, 1), Reading(10.0), at(agent.now))
    assert agent.core.next_frame_ms() is None
    agent.core.record_progress((1, 1), Reading(11.0), at(agent.now))
    agent.core.record_progress((1, 1), Reading(12.0), at(agent.now))
    assert agent.send_all() == []
    assert agent.core.next_frame_ms() == 10_500
    agent.now = 10.5
    assert agent.send_all() == [m.Progress(1, 1, 12.0)]


def test_last_progress_goes_before_the_end() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"progress": "status"}))
    [start] = agent.take_sent("start")
    assert (start["status"], start["watch"]) == (True, False)
    lines = ["progress 42.5", "comment pass 2", "eta 310"]
    agent.reaper_sends(agent.started(1), {"type": "status", "job": 1, "n": 1, "lines": lines})
    assert m.Progress(1, 1, 42.5, "pass 2", 310.0) in agent.send_all()
    agent.master_acknowledges()
    agent.now = 100.0
    last = {"type": "status", "job": 1, "n": 1, "lines": ["progress 100"]}
    agent.reaper_sends(last, agent.ended(1), agent.synced())
    progress, ended = agent.send_all()
    assert progress == m.Progress(1, 1, 100.0, "pass 2", 210.0)
    assert isinstance(ended, m.Ended)


def test_stopping_agent_takes_no_grants() -> None:
    agent = AgentHarness(jobs=1)
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    agent.reaper_sends(agent.started(1))
    agent.execute(agent.core.stop_all_jobs("shutdown"))
    assert [each["by"] for each in agent.take_sent("stop")] == ["shutdown", "shutdown"]
    agent.master_sends(agent.make_grant(3))
    agent.run_to_end(1)
    assert agent.take_starts() == [1]
    assert {type(each).__name__ for each in agent.send_all()} >= {"Ended", "Returned"}
    assert agent.frames[-1].room == 0
    assert agent.frames[-1].draining
    agent.master_acknowledges()
    agent.send_all()
    agent.master_acknowledges()
    assert agent.core.unacknowledged_count == 0


def test_progress_read_after_durable_end_goes_before_it() -> None:
    # Seen under load: the end and `synced` arrived in one read, and the progress in the last
    # line of the output was lost.
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"progress": "percent"}))
    agent.run_to_end(1, output=[[10, 10, 0]])
    assert agent.output_reads == [(1, 1)]
    agent.core.record_progress((1, 1), Reading(80.0), at(agent.now))
    kinds = [type(each) for each in agent.send_all()]
    assert kinds[:2] == [m.Progress, m.Ended]
