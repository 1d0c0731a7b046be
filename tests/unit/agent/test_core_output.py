"""Stories of the agent's core about output: offered, kept, watched and asked for."""

from __future__ import annotations

from mythjobs.protocol import messages as m
from tests.support.agent_story import Story


def test_output_is_offered_and_kept_until_the_master_has_it() -> None:
    story = Story()
    story.master(story.grant(1, run={"separate_stderr": True}))
    story.run(1, output=[[9, 4, 5], [20, 4, 6]])
    ended, *offers = story.said()
    assert isinstance(ended, m.Ended)
    assert offers == [m.OutputOffer(1, 1, 1, 9), m.OutputOffer(1, 1, 2, 10)]
    story.acknowledge()
    assert story.take("ack") == []

    # A new connection: the end is acknowledged, the output still to be taken.
    story.core.on_connected(2)
    assert [type(each) for each in story.said()] == [m.Heartbeat, m.OutputOffer, m.OutputOffer]
    story.master(m.OutputKept(1, 1, 2), m.OutputKept(1, 1, 1))
    assert story.dropped == [(1, 1)]
    assert len(story.take("ack")) == 1


def test_output_that_is_kept_before_the_end_is_acknowledged_waits_for_that() -> None:
    story = Story()
    story.master(story.grant(1))
    story.run(1, output=[[9, 9, 0]])
    story.said()
    story.master(m.OutputKept(1, 1, 1))
    assert story.dropped == []
    story.acknowledge()
    assert story.dropped == [(1, 1)]


def test_only_standard_error_may_have_been_written() -> None:
    story = Story()
    story.master(story.grant(1, run={"separate_stderr": True}))
    story.run(1, output=[[0, 0, 0], [3, 3, 0]])
    assert [each for each in story.said() if isinstance(each, m.OutputOffer)] == [
        m.OutputOffer(1, 1, 2, 3)
    ]


def test_an_output_is_watched_while_anybody_follows_it() -> None:
    story = Story()
    story.master(story.grant(1))
    story.carry_out(story.core.change_watchers((1, 1), 1))
    assert story.take("watch") == []  # there is no process yet
    story.reaper(story.started(1))
    assert [each["on"] for each in story.take("watch")] == [True]
    # The second wants to hear how much there is by now, too.
    story.carry_out(story.core.change_watchers((1, 1), 1))
    story.carry_out(story.core.change_watchers((1, 1), -1))
    assert [each["on"] for each in story.take("watch")] == [True]
    story.carry_out(story.core.change_watchers((1, 1), -1))
    assert [each["on"] for each in story.take("watch")] == [False]
    story.carry_out(story.core.change_watchers((9, 9), 1))


def test_requests_for_output_are_handed_on() -> None:
    story = Story()
    fetch = m.OutputFetch(5, 1, 1, 1, 0)
    story.master(fetch, m.OutputCredit(5, 9), m.OutputStop(5))
    assert story.transfers == [fetch, m.OutputCredit(5, 9), m.OutputStop(5)]
