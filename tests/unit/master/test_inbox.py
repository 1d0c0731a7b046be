"""Each connection has its share of a turn, and what is beyond it keeps its order."""

from __future__ import annotations

import queue
import threading

import pytest

from mythjobs.master import inbox
from mythjobs.master.inbox import Arrival, Inbox, split_frame
from mythjobs.master.requests import Attach, Detached, FrameReceived, LeaseTick
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import Headroom, MachineDescription

SHARE = 256


def frame(no: int, count: int, connection: int = 1) -> Arrival:
    messages: list[m.AgentMessage] = [m.Started(job, 1, 5) for job in range(count)]
    return Arrival(FrameReceived(connection, m.AgentFrame(no, 0, 1, messages)))


def take(inbox: Inbox) -> list[tuple[object, ...]]:
    """Return the arrivals of the next turn: of frames the connection, number, and messages."""
    arrived: list[Arrival] = []
    inbox.receive(arrived, 0.0)
    return describe(arrived)


def describe(arrived: list[Arrival]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for each in arrived:
        match each.item:
            case FrameReceived():
                part = each.item.frame
                found.append((each.item.connection, part.no, len(part.messages)))
            case _:
                found.append((type(each.item).__name__,))
    return found


def put(*arrivals: Arrival | None) -> Inbox:
    filled = Inbox()
    for each in arrivals:
        filled.put(each)
    return filled


REQUEST = Arrival(Attach(m.Hello(2, "", "", "", "a", "b", "i", 1), True, 1))


def test_a_large_frame_is_handled_in_several_turns_in_which_others_have_their_share() -> None:
    """Seen: a machine that sent 10,000 messages at a time delayed the submits of others by 5 s."""
    inbox = put(frame(7, 600), REQUEST, frame(1, 2, connection=2), frame(8, 10), frame(9, 0))
    assert take(inbox) == [(1, 6, SHARE), ("Attach",), (2, 1, 2)]
    inbox.put(REQUEST)
    assert take(inbox) == [(1, 6, SHARE), ("Attach",)]
    assert take(inbox) == [(1, 7, 88), (1, 8, 10), (1, 9, 0)]
    assert take(inbox) == []


def test_many_small_frames_of_a_connection_are_handled_in_several_turns() -> None:
    inbox = put(*(frame(no, 100) for no in range(1, 7)), REQUEST)
    assert take(inbox) == [(1, 1, 100), (1, 2, 100), (1, 2, 56), ("Attach",)]
    assert take(inbox) == [(1, 3, 44), (1, 4, 100), (1, 5, 100), (1, 5, 12)]
    assert take(inbox) == [(1, 6, 88)]


def test_a_frame_without_messages_counts_too() -> None:
    inbox = put(*(frame(no, 0) for no in range(SHARE + 2)))
    assert len(take(inbox)) == SHARE
    assert [each[1] for each in take(inbox)] == [SHARE, SHARE + 1]


def test_the_end_of_a_connection_follows_its_frames() -> None:
    inbox = put(frame(1, 300), Arrival(Detached(1)), Arrival(Detached(2)))
    assert take(inbox) == [(1, 0, SHARE), ("Detached",)]
    assert take(inbox) == [(1, 1, 44), ("Detached",)]


def test_leases_are_checked_after_the_frames_that_were_received_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They may have heartbeats, which renew leases."""
    inbox_ = put(frame(1, 600), Arrival(LeaseTick(5)), Arrival(LeaseTick(6)))
    assert take(inbox_) == [(1, 0, SHARE)]
    assert take(inbox_) == [(1, 0, SHARE)]
    assert take(inbox_) == [(1, 1, 88), ("LeaseTick",)]
    assert take(inbox_) == []
    # A machine that goes on sending does not keep the leases of others.
    monkeypatch.setattr(inbox, "_MAX_TICK_WAIT_S", 0.0)
    inbox_ = put(frame(1, 900), Arrival(LeaseTick(5)))
    assert take(inbox_) == [(1, 0, SHARE)]
    assert take(inbox_) == [(1, 0, SHARE), ("LeaseTick",)]


def test_frames_keep_their_order_while_the_store_is_unavailable() -> None:
    """Seen: a frame overtook the rest of the one before, which was acknowledged with it."""
    inbox = put(frame(1, 300))
    arrived: list[Arrival] = []
    assert inbox.receive(arrived, 0.0)
    for each in (frame(2, 1), REQUEST, frame(1, 1, connection=2), Arrival(LeaseTick(5)), None):
        inbox.put(each)
    while inbox.receive_one(arrived, 0.0):
        pass
    assert describe(arrived) == [(1, 0, SHARE), ("Attach",), (2, 1, 1)]
    assert take(inbox) == [(1, 1, 44), (1, 2, 1), ("LeaseTick",)]


def test_all_that_waits_is_handled_at_the_end() -> None:
    inbox = put(frame(1, 300), None)
    arrived: list[Arrival] = []
    assert not inbox.receive(arrived, None)
    assert len(arrived) == 2


def test_a_turn_waits_for_an_arrival() -> None:
    inbox = Inbox()
    arrived: list[Arrival] = []
    thread = threading.Thread(target=inbox.receive, args=(arrived, None))
    thread.start()
    inbox.put(REQUEST)
    thread.join()
    assert arrived == [REQUEST]
    with pytest.raises(queue.Empty):
        inbox.receive_one([], 0.0)


def test_what_a_frame_says_of_the_machine_is_recorded_once() -> None:
    whole = m.AgentFrame(
        5, 3, 1, [m.Heartbeat(1), m.Started(1, 1, 5)], True, Headroom(), None, {"x": []},
        MachineDescription(),
    )  # fmt: skip
    first, rest = split_frame(whole, 1)
    assert first == m.AgentFrame(
        4, 3, 1, whole.messages[:1], True, whole.headroom, None, {"x": []}, whole.description
    )
    assert rest == m.AgentFrame(5, 3, 1, whole.messages[1:], True)
