"""Whatever arrives and however it is split into turns: each connection's messages keep their order,
none is lost or doubled, and nobody waits for a flood."""

from __future__ import annotations

import itertools
import queue
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.master import inbox as inbox_module
from mythjobs.master.inbox import Arrival, Inbox
from mythjobs.master.requests import Attach, Detached, FrameReceived, LeaseTick
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import Headroom

SHARE = 4
BATCH = 6
HELLO = m.Hello(2, "", "", "", "a", "b", "i", 1)

# What arrives: frames of a connection with a number of messages, ends of connections, requests,
# lease ticks; and turns between them. All that arrives before a retried turn does while the store
# is unavailable.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(1, 3), st.integers(0, 3 * SHARE)),
        st.tuples(st.just("end"), st.integers(1, 3), st.just(0)),
        st.tuples(
            st.sampled_from(["request", "tick", "turn", "retried turn"]), st.just(0), st.just(0)
        ),
    ),
    max_size=40,
)


@dataclass
class Run:
    """An inbox, what was put into it, and what the turns have got."""

    inbox: Inbox = field(default_factory=Inbox)
    # By connection: job numbers of messages, "ack N" of frames, "end".
    sent: dict[int, list[object]] = field(default_factory=lambda: defaultdict(list))
    got: dict[int, list[object]] = field(default_factory=lambda: defaultdict(list))
    headrooms: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    frames: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    numbers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    requests: list[Arrival] = field(default_factory=list)
    answered: list[Arrival] = field(default_factory=list)
    jobs: itertools.count[int] = field(default_factory=itertools.count)
    # What was sent before each tick, by connection.
    before_ticks: list[dict[int, int]] = field(default_factory=list)
    ticks: int = 0

    def put(self, kind: str, connection: int, count: int) -> None:
        match kind:
            case "frame":
                jobs = [next(self.jobs) for _ in range(count)]
                self.numbers[connection] = no = self.numbers[connection] + 1
                self.frames[connection] += 1
                messages: list[m.AgentMessage] = [m.Started(job, 1, 5) for job in jobs]
                frame = m.AgentFrame(no, 0, 1, messages, headroom=Headroom())
                self.sent[connection] += [*jobs, f"ack {no}"]
                self.inbox.put(Arrival(FrameReceived(connection, frame)))
            case "end":
                self.sent[connection].append("end")
                self.inbox.put(Arrival(Detached(connection)))
            case "request":
                self.requests.append(Arrival(Attach(HELLO, True, 1)))
                self.inbox.put(self.requests[-1])
            case "tick":
                number = len(self.before_ticks)
                self.before_ticks.append({each: len(sent) for each, sent in self.sent.items()})
                self.inbox.put(Arrival(LeaseTick(number)))
            case _:
                self.turn(is_retried=kind == "retried turn")

    def turn(self, *, is_retried: bool = False) -> list[Arrival]:
        arrived: list[Arrival] = []
        assert self.inbox.receive(arrived, 0.0)
        if is_retried:
            with suppress(queue.Empty):
                while self.inbox.receive_one(arrived, 0.0):
                    pass
        shares: dict[int, int] = defaultdict(int)
        for each in arrived:
            if isinstance(each.item, FrameReceived):
                shares[each.item.connection] += len(each.item.frame.messages) or 1
            self.record(each)
        assert is_retried or max(shares.values(), default=0) <= SHARE
        return arrived

    def record(self, arrival: Arrival) -> None:
        match arrival.item:
            case FrameReceived(connection, frame):
                got = self.got[connection]
                got += [each.job for each in frame.messages if isinstance(each, m.Started)]
                self.headrooms[connection] += frame.headroom is not None
                # The ack says that all messages of this frame, and of those before, are handled.
                acked = [each for each in got if str(each).startswith("ack")]
                if frame.no > len(acked):
                    got.append(f"ack {frame.no}")
                else:
                    assert frame.no == len(acked), "an ack goes back"
            case Detached(connection):
                self.got[connection].append("end")
            case LeaseTick(number):
                self.ticks += 1
                for connection, count in self.before_ticks[number].items():
                    assert self.got[connection][:count] == self.sent[connection][:count]
            case _:
                self.answered.append(arrival)
        for connection, got in self.got.items():
            assert got == self.sent[connection][: len(got)]


@pytest.fixture(autouse=True, scope="module")
def small_turns() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(inbox_module, "_MAX_SHARE", SHARE)
    patch.setattr(inbox_module, "_MAX_BATCH", BATCH)
    patch.setattr(inbox_module, "_MAX_TICK_WAIT_S", 1e9)
    yield
    patch.undo()


@given(STEPS)
def test_messages_keep_their_order_and_none_is_lost_or_doubled(
    steps: list[tuple[str, int, int]],
) -> None:
    run = Run()
    for step in steps:
        run.put(*step)
    while run.turn():
        pass
    assert dict(run.got) == dict(run.sent)
    assert run.headrooms == run.frames
    assert run.answered == run.requests
    assert bool(run.ticks) == bool(run.before_ticks)


@given(STEPS)
def test_all_is_handled_in_order_at_the_end(steps: list[tuple[str, int, int]]) -> None:
    run = Run()
    for step in steps:
        run.put(*step)
    run.inbox.put(None)
    while True:
        arrived: list[Arrival] = []
        goes_on = run.inbox.receive(arrived, None)
        for each in arrived:
            run.record(each)
        if not goes_on:
            break
    assert dict(run.got) == dict(run.sent)
    assert run.answered == run.requests


@given(
    st.lists(st.integers(0, 5 * SHARE), max_size=16),
    st.integers(0, 5),
    st.lists(st.integers(0, 5 * SHARE), max_size=16),
)
def test_a_request_waits_for_one_turn_of_a_flood(
    before: list[int], turns: int, after: list[int]
) -> None:
    """A machine has at most 16 frames in the queue."""
    run = Run()
    for count in before:
        run.put("frame", 1, count)
    for _ in range(turns):
        run.turn()
    run.put("request", 0, 0)
    for count in after:
        run.put("frame", 1, count)
    run.turn()
    if len(run.answered) == 0:
        run.turn()
    assert run.answered == run.requests
