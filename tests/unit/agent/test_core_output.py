"""Agent core: output that is offered, kept, watched and transferred."""

from __future__ import annotations

from pathlib import Path

from mythjobs.agent.output_transfer import OutputTransfers
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness


def test_output_is_kept_until_master_has_it() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"separate_stderr": True}))
    agent.run_to_end(1, output=[[9, 4, 5], [20, 4, 6]])
    ended, *offers = agent.send_all()
    assert isinstance(ended, m.Ended)
    assert offers == [m.OutputOffer(1, 1, 1, 9), m.OutputOffer(1, 1, 2, 10)]
    agent.master_acknowledges()
    assert agent.take_sent("ack") == []

    # On a new connection only the output is offered: the end is acknowledged.
    agent.core.on_connected(2)
    assert [type(each) for each in agent.send_all()] == [m.Heartbeat, m.OutputOffer, m.OutputOffer]
    agent.master_sends(m.OutputKept(1, 1, 2), m.OutputKept(1, 1, 1))
    assert agent.deleted_outputs == [(1, 1)]
    assert len(agent.take_sent("ack")) == 1


def run_with_small_output(agent: AgentHarness) -> None:
    agent.master_sends(agent.make_grant(1))
    end = agent.ended(1, output=[[2, 2, 0]]) | {"data": ["Yf8="]}
    agent.reaper_sends(agent.started(1), end, agent.synced())


def test_small_output_is_sent_with_the_end() -> None:
    agent = AgentHarness()
    run_with_small_output(agent)
    [ended] = agent.send_all()
    assert isinstance(ended, m.Ended)
    assert ended.data == ["Yf8="]
    # Not acknowledged: sent again on a new connection.
    agent.core.on_connected(2)
    assert [type(each) for each in agent.send_all()] == [m.Heartbeat, m.Ended]
    agent.master_acknowledges()
    assert len(agent.take_sent("ack")) == 1
    assert agent.deleted_outputs == []  # there is no file
    assert agent.core.unacknowledged_count == 0


def test_small_output_is_offered_to_an_older_master() -> None:
    agent = AgentHarness()
    agent.core.on_connected(2, frozenset())
    run_with_small_output(agent)
    ended, offer = agent.send_all()[-2:]
    assert isinstance(ended, m.Ended)
    assert ended.data == []
    assert offer == m.OutputOffer(1, 1, 1, 2)
    agent.master_acknowledges()
    assert agent.take_sent("ack") == []
    # The next master, which knows the field, has the end without the output already.
    agent.core.on_connected(2)
    assert agent.send_all()[1:] == [offer]
    agent.master_acknowledges()
    assert agent.take_sent("ack") == []
    agent.master_sends(m.OutputKept(1, 1, 1))
    assert len(agent.take_sent("ack")) == 1


def test_small_output_is_transferred_from_memory(tmp_path: Path) -> None:
    agent = AgentHarness()
    agent.core.on_connected(2, frozenset())
    run_with_small_output(agent)
    ends: list[m.OutputEnd] = []
    transfers = OutputTransfers(tmp_path, agent.core.find_attempt, lambda *_: None, ends.append)
    for number, offset, kept in ((1, 0, True), (2, 1, False)):
        transfers.on_message(m.OutputFetch(number, 1, 1, 1, offset, kept=kept))
        chunk = transfers.next_chunk()
        assert chunk is not None
        assert codec.decode_chunk(chunk) == codec.OutputChunk(number, offset, b"a\xff"[offset:])
        assert transfers.next_chunk() is None
        assert ends.pop() == m.OutputEnd(number)


def test_output_collected_before_end_is_acknowledged_is_kept() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.run_to_end(1, output=[[9, 9, 0]])
    agent.send_all()
    agent.master_sends(m.OutputKept(1, 1, 1))
    assert agent.deleted_outputs == []
    agent.master_acknowledges()
    assert agent.deleted_outputs == [(1, 1)]


def test_output_on_standard_error_only() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1, run={"separate_stderr": True}))
    agent.run_to_end(1, output=[[0, 0, 0], [3, 3, 0]])
    assert [each for each in agent.send_all() if isinstance(each, m.OutputOffer)] == [
        m.OutputOffer(1, 1, 2, 3)
    ]


def test_output_is_watched_while_followed() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    agent.execute(agent.core.change_watchers((1, 1), 1))
    assert agent.take_sent("watch") == []  # there is no process yet
    agent.reaper_sends(agent.started(1))
    assert [each["on"] for each in agent.take_sent("watch")] == [True]
    # The second watcher needs the current size, too.
    agent.execute(agent.core.change_watchers((1, 1), 1))
    agent.execute(agent.core.change_watchers((1, 1), -1))
    assert [each["on"] for each in agent.take_sent("watch")] == [True]
    agent.execute(agent.core.change_watchers((1, 1), -1))
    assert [each["on"] for each in agent.take_sent("watch")] == [False]
    agent.execute(agent.core.change_watchers((9, 9), 1))


def test_output_requests_are_forwarded() -> None:
    agent = AgentHarness()
    fetch = m.OutputFetch(5, 1, 1, 1, 0)
    agent.master_sends(fetch, m.OutputCredit(5, 9), m.OutputStop(5))
    assert agent.transfers == [fetch, m.OutputCredit(5, 9), m.OutputStop(5)]


def test_an_end_says_what_was_left_running_and_which_limits_did_not_hold() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    ended = {**agent.ended(1), "left": [[77, "daemon"], [78, "other"]], "unenforced": ["why"]}
    agent.reaper_sends(agent.started(1), ended, agent.synced())
    [end] = [each for each in agent.send_all() if isinstance(each, m.Ended)]
    assert end.proof == "observed; why; left running: 77 (daemon), 78 (other)"
