"""Agent core: recovery after restarts of the agent or the machine, and after reaper deaths."""

from __future__ import annotations

from mythjobs.agent.core.attempt import JournalSnapshot
from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms
from mythjobs.agent.core.outcome import MACHINE_RESTARTED, REAPER_DIED, LostAttempt
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at


def restarted(
    found: JournalSnapshot, *, hello: list[dict[str, object]] | None = None
) -> AgentHarness:
    agent = AgentHarness(connect=False)
    agent.core.restore(found)
    agent.reaper_connects("r1", *(hello or []))
    return agent


def test_new_agent_adopts_running_and_returns_unstarted_attempts() -> None:
    agent = restarted(
        JournalSnapshot(
            {(1, 1): LeaseTerms("ffmpeg"), (2, 1): NO_TERMS, (3, 1): NO_TERMS}, [(4, 1)], set()
        ),
        hello=[AgentHarness().started(1), AgentHarness().ended(2)],
    )
    agent.execute(agent.core.finish_recovery(at(0)))
    # Progress is still read.
    assert agent.take_sent("watch") == [{"type": "watch", "job": 1, "n": 1, "on": True, "to": "r1"}]
    assert agent.records == [{"never": [[3, 1]]}]
    agent.core.on_connected(2)
    heartbeat, *rest = agent.send_all()
    assert isinstance(heartbeat, m.Heartbeat)
    assert {(each.job, each.state) for each in heartbeat.held} == {
        (1, "running"), (2, "running"), (3, "leased"), (4, "leased"),
    }  # fmt: skip
    assert rest == [
        m.Started(1, 1, at(0).wall_ms),
        m.Returned(3, 1, "the agent restarted before the job was started"),
        m.Returned(4, 1, "returned before the agent restarted"),
    ]
    # The end of job 2 is not durable until the reaper reports `synced`.
    agent.master_acknowledges()
    agent.reaper_sends({"type": "synced", "seq": 1})
    assert [type(each) for each in agent.send_all()] == [m.Ended]
    assert agent.take_starts() == []


def test_attempt_that_reaper_is_starting_is_not_returned() -> None:
    agent = AgentHarness(connect=False)
    agent.core.restore(JournalSnapshot({(1, 1): NO_TERMS}, [], set()))
    agent.reaper_connects("r1", starting=[(1, 1)])
    agent.execute(agent.core.finish_recovery(at(0)))
    assert agent.records == []
    agent.core.on_connected(1)
    agent.reaper_sends(agent.started(1))
    assert agent.core.running_count == 1
    assert m.Started(1, 1, at(0).wall_ms) in agent.send_all()


def test_attempt_unknown_to_agent_journal_is_adopted() -> None:
    agent = restarted(JournalSnapshot({}, [], set()), hello=[AgentHarness().started(6, 2)])
    agent.execute(agent.core.finish_recovery(at(0)))
    assert agent.core.running_count == 1
    agent.core.on_connected(2)
    assert agent.heartbeat_states() == [(6, 2, "running")]


def test_after_reboot_nothing_starts_and_unended_attempts_are_lost() -> None:
    agent = AgentHarness(connect=False)
    agent.core.restore(JournalSnapshot({(1, 1): NO_TERMS, (2, 1): NO_TERMS}, [], {(1, 1), (2, 1)}))
    # The dead reaper's journal has the end of one attempt.
    agent.reaper_dies(agent.ended(2, code=3), reaper="r0")
    agent.execute(agent.core.finish_recovery(at(0)))
    agent.core.on_connected(2)
    _, *ends = agent.send_all()
    assert {each.job: each.outcome for each in ends if isinstance(each, m.Ended)} == {
        1: {"kind": "lost", "why": MACHINE_RESTARTED},
        2: {"kind": "exited", "code": 3},
    }
    assert agent.take_starts() == []
    assert set(agent.core.take_snapshot().maybe_started) == {(1, 1), (2, 1)}
    agent.master_acknowledges()
    assert agent.removed_reapers == ["r0"]
    assert agent.core.take_snapshot() == JournalSnapshot({}, [], [])


# Death of a reaper.


def test_running_attempts_of_dead_reaper_are_lost_and_unstarted_ones_restart() -> None:
    agent = AgentHarness(jobs=4)
    agent.master_sends(*[agent.make_grant(job) for job in (1, 2, 3, 4)])
    agent.reaper_sends(agent.started(1), agent.started(2), agent.started(3))
    agent.reaper_sends(agent.ended(2), agent.ended(3))
    agent.send_all()
    agent.master_acknowledges()
    assert agent.take_starts() == [1, 2, 3, 4]

    # The reaper journaled one of two ends; the other was reported before its death.
    left = [LostAttempt((1, 1), 5, [(3, 3, 0)], "no process of its session is left"),
            LostAttempt((3, 1), 5, [], "…")]  # fmt: skip
    agent.reaper_dies(agent.ended(2), lost=left)
    assert agent.core.running_count == 0
    agent.reaper_connects("r2")
    agent.execute(agent.core.set_start_reaper("r2", at(0)))
    assert [each["to"] for each in agent.take_sent("start")] == ["r2"]
    sent = {each.job: each for each in agent.send_all() if isinstance(each, m.Ended)}
    assert sent[1].outcome == {"kind": "lost", "why": REAPER_DIED}
    assert sent[1].proof == "no process of its session is left"
    assert sent[3].outcome == {"kind": "exited", "code": 0}
    assert set(sent) == {1, 2, 3}

    # The journal is removed once the master has all ends and outputs.
    agent.master_acknowledges()
    assert agent.removed_reapers == []
    agent.master_sends(m.OutputKept(1, 1, 1))
    assert agent.removed_reapers == ["r1"]
    assert agent.take_sent("ack") == []


def test_dead_reaper_without_attempts_is_removed_immediately() -> None:
    agent = AgentHarness()
    agent.reaper_dies()
    assert agent.removed_reapers == ["r1"]
    agent.master_sends(agent.make_grant(1))
    assert agent.take_starts() == []  # no reaper is connected
    agent.reaper_connects("r2")
    agent.execute(agent.core.set_start_reaper("r2", at(0)))
    assert agent.take_starts() == [1]


def test_running_attempt_without_journal_is_lost_without_proof() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.reaper_sends(agent.started(1))
    agent.reaper_dies()
    [ended] = [each for each in agent.send_all() if isinstance(each, m.Ended)]
    assert ended.outcome["kind"] == "lost"
    assert ended.proof == ""


def test_start_is_repeated_after_reaper_reconnects() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1), agent.make_grant(2))
    assert agent.take_starts() == [1, 2]
    # The reaper has the first only. A repeated start is ignored.
    agent.reaper_connects("r1", agent.started(1))
    assert agent.take_starts() == [2]
    assert agent.core.running_count == 2


def test_messages_of_a_newer_reaper_that_are_unknown_are_ignored() -> None:
    agent = AgentHarness()
    agent.reaper_sends({"type": "pong"}, {"type": "news", "of": "a later version"})
    agent.reaper_sends({"type": "news", "job": 1, "n": 1})
    assert agent.actions == []


def test_an_older_master_is_not_told_who_has_frozen_a_job() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.reaper_sends(agent.started(1))
    frozen = {"type": "frozen", "job": 1, "n": 1, "holders": ["user"]}
    agent.reaper_sends(frozen)
    assert m.Frozen(1, 1, ["user"]) in agent.send_all()
    agent.core.on_connected(2, frozenset())
    agent.reaper_sends(frozen | {"holders": []})
    sent = agent.send_all()
    assert [type(each) for each in sent] == [m.Heartbeat, m.Started]
