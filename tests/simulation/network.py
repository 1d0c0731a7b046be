"""Model of TCP connections between machines and the master, with cuts and delays."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from tests.simulation.simulator import Simulator

UP: Final = 0  # to the master
DOWN: Final = 1
# Maximum delay of an undisturbed network.
_JITTER_MS: Final = 15


class Endpoint(Protocol):
    """Receiver at one end of a connection."""

    def on_data(self, data: bytes) -> None: ...
    def on_close(self) -> None: ...


class NetworkPath:
    """Network path of one machine: cuts and delays in each direction."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.cuts = [0, 0]  # active cuts in each direction
        self.delays_ms = [0, 0]
        self.backoff_ms = 0
        self.connections: list[SimConnection] = []
        self.newest: SimConnection | None = None

    @property
    def is_connectable(self) -> bool:
        return not any(self.cuts)

    def change_cuts(self, direction: int, change: int) -> None:
        self.cuts[direction] += change
        if not self.cuts[direction]:
            for connection in list(self.connections):
                connection.resume(direction)

    def reset_connections(self) -> None:
        """Break all connections at both ends, and lose all data in flight."""
        for connection in list(self.connections):
            connection.reset()

    def draw_delay_ms(self, direction: int) -> int:
        return self.delays_ms[direction] + self.sim.random.randrange(_JITTER_MS)


class SimConnection:
    """TCP connection: data in each direction arrive in order, once, without gaps before a close."""

    def __init__(self, path: NetworkPath) -> None:
        self._path = path
        # Receivers of UP and of DOWN data.
        self._receivers: list[Endpoint | None] = [None, None]
        self._in_flight: tuple[deque[bytes | None], ...] = (deque(), deque())
        self._arrivals_ms: list[deque[int]] = [deque(), deque()]
        self._last_arrival_ms = [0, 0]
        self._retransmit_ms = [0, 0]  # first retransmission after a cut ended
        self._is_closed = [False, False]
        path.connections.append(self)
        path.newest = self

    def set_receiver(self, direction: int, receiver: Endpoint) -> None:
        self._receivers[direction] = receiver

    def send(self, direction: int, data: bytes) -> None:
        if not self._is_closed[direction]:
            self._put(direction, data)

    def close(self, direction: int) -> None:
        """Close by the sender of `direction`. It receives nothing that arrives later."""
        if not self._is_closed[direction]:
            self._put(direction, None)
            self._is_closed[direction] = True
        self._receivers[1 - direction] = None
        self._forget_if_unused()

    def vanish(self, direction: int) -> None:
        """Remove the sender of `direction` without notifying the other end (power cut)."""
        self._is_closed[direction] = True
        self._receivers[1 - direction] = None
        self._forget_if_unused()

    def reset(self) -> None:
        receivers, self._receivers = self._receivers, [None, None]
        for direction in (UP, DOWN):
            self._is_closed[direction] = True
            self._in_flight[direction].clear()
            self._arrivals_ms[direction].clear()
        self._forget_if_unused()
        for receiver in receivers:
            if receiver is not None:
                receiver.on_close()

    def _put(self, direction: int, data: bytes | None) -> None:
        sim = self._path.sim
        at_ms = sim.now_ms + self._path.draw_delay_ms(direction)
        at_ms = max(self._last_arrival_ms[direction], at_ms)
        self._last_arrival_ms[direction] = at_ms
        self._in_flight[direction].append(data)
        self._arrivals_ms[direction].append(at_ms)
        sim.call_at(at_ms, self.deliver_due, direction)

    def resume(self, direction: int) -> None:
        """Deliver data after a cut. TCP retransmits lost data only after its back-off."""
        sim, backoff_ms = self._path.sim, self._path.backoff_ms
        if backoff_ms and self._in_flight[direction]:
            self._retransmit_ms[direction] = sim.now_ms + sim.random.randrange(backoff_ms)
            sim.call_at(self._retransmit_ms[direction], self.deliver_due, direction)
        else:
            self.deliver_due(direction)

    def deliver_due(self, direction: int) -> None:
        in_flight, arrivals_ms = self._in_flight[direction], self._arrivals_ms[direction]
        now_ms, retransmit_ms = self._path.sim.now_ms, self._retransmit_ms[direction]
        while in_flight and arrivals_ms[0] <= now_ms >= retransmit_ms:
            if self._path.cuts[direction]:
                break
            arrivals_ms.popleft()
            data = in_flight.popleft()
            receiver = self._receivers[direction]
            if receiver is None:
                continue
            if self._path.newest is not self:
                self._path.sim.count("late on an old connection")
            if data is None:
                self._receivers[direction] = None
                self._forget_if_unused()
                receiver.on_close()
            else:
                receiver.on_data(data)

    def _forget_if_unused(self) -> None:
        if self._receivers == [None, None] and self in self._path.connections:
            self._path.connections.remove(self)
