"""Queue of requests and messages for the turns; gives each connection its share of a turn."""

from __future__ import annotations

import queue
import time
from asyncio import Future
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mythjobs.master import requests
from mythjobs.protocol.messages import AgentFrame

# Maximum number of requests and messages in a turn: enough for a burst to share one fsync
# of the commit, few enough to keep the turn short.
_MAX_BATCH: Final = 256
# Maximum number of an agent's messages in a turn. More than that come from a machine that was
# disconnected for long, or floods the master: they are handled in several turns, in which others
# have their share.
_MAX_SHARE: Final = 256
# Leases are checked although frames wait that arrived before, after this time: a machine that
# floods the master must not keep those of others.
_MAX_TICK_WAIT_S: Final = 10.0


@dataclass(slots=True)
class Arrival:
    """A queued request or message; a request has a `future` for its response."""

    item: requests.Request | requests.Message
    future: Future[Any] | None = None


class Inbox:
    """All but put() is called in the thread of the turns."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        # By connection, in the order of their arrival: what is beyond its share of a turn.
        self._waiting: dict[int, deque[Arrival]] = {}
        self._tick: Arrival | None = None
        self._tick_due_s = 0.0

    def put(self, arrival: Arrival | None) -> None:
        """Queue an arrival; None is the end. Thread-safe."""
        self._queue.put(arrival)

    def receive_one(self, arrived: list[Arrival], timeout_s: float) -> bool:
        """Wait for one arrival while those in `arrived` cannot be handled, and add it to them. What
        follows waiting frames of its connection waits, too: frames keep their order.

        Return False after the end. Raises queue.Empty after the timeout.
        """
        arrival = self._queue.get(timeout=timeout_s)
        if arrival is not None:
            self._add(arrival, arrived, {})
        return arrival is not None

    def receive(self, arrived: list[Arrival], timeout_s: float | None) -> bool:
        """Wait for an arrival, or until the timeout, then move those of a turn to `arrived`.

        Return False after the end, with all that waits in `arrived`.
        """
        shares: dict[int, int] = {}
        if self._waiting or self._tick:
            self._take_waiting(arrived, shares)
            timeout_s = 0.0
        try:
            first = self._queue.get(timeout=timeout_s)
            while first is not None:
                self._add(first, arrived, shares)
                if len(arrived) >= _MAX_BATCH:
                    return True
                first = self._queue.get_nowait()
        except queue.Empty:
            return True
        for each in self._waiting.values():
            arrived += each
        self._waiting.clear()
        return False

    def _take_waiting(self, arrived: list[Arrival], shares: dict[int, int]) -> None:
        for connection in list(self._waiting):
            self._take_share(connection, arrived, shares)
        if self._tick and (not self._waiting or time.monotonic() >= self._tick_due_s):
            arrived.append(self._tick)
            self._tick = None

    def _take_share(self, connection: int, arrived: list[Arrival], shares: dict[int, int]) -> None:
        """Move what waits of a connection to `arrived`, as far as its share permits."""
        waiting = self._waiting[connection]
        while waiting and shares.get(connection, 0) < _MAX_SHARE:
            item = waiting[0].item
            if isinstance(item, requests.FrameReceived):
                taken = shares.get(connection, 0)
                left = _MAX_SHARE - taken
                if len(item.frame.messages) > left:
                    part, rest = split_frame(item.frame, left)
                    arrived.append(Arrival(requests.FrameReceived(connection, part)))
                    waiting[0] = Arrival(requests.FrameReceived(connection, rest))
                    shares[connection] = _MAX_SHARE
                    return
                shares[connection] = taken + _count_messages(item)
            arrived.append(waiting.popleft())
        if not waiting:
            del self._waiting[connection]

    def _add(self, arrival: Arrival, arrived: list[Arrival], shares: dict[int, int]) -> None:
        item = arrival.item
        match item:
            case requests.LeaseTick() if self._waiting:
                # The frames that wait may renew leases.
                if self._tick is None:
                    self._tick, self._tick_due_s = arrival, time.monotonic() + _MAX_TICK_WAIT_S
                return
            case requests.FrameReceived() | requests.Detached() if item.connection in self._waiting:
                self._waiting[item.connection].append(arrival)
                return
            case requests.FrameReceived():
                taken = shares.get(item.connection, 0) + _count_messages(item)
                if taken > _MAX_SHARE:
                    self._waiting[item.connection] = deque([arrival])
                    self._take_share(item.connection, arrived, shares)
                    return
                shares[item.connection] = taken
        arrived.append(arrival)


def _count_messages(received: requests.FrameReceived) -> int:
    """Return what a frame takes of the share: one message at least."""
    return len(received.frame.messages) or 1


def split_frame(frame: AgentFrame, count: int) -> tuple[AgentFrame, AgentFrame]:
    """Return a frame with the first messages, and one with the others. Only the second
    acknowledges the frame; the first acknowledges the frame before it."""
    first, rest = frame.messages[:count], frame.messages[count:]
    return (
        msgspec.structs.replace(frame, no=frame.no - 1, messages=first),
        msgspec.structs.replace(
            frame, messages=rest, headroom=None, load=None, footprints={}, description=None
        ),
    )
