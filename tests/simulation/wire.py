"""Connections between a machine and the master, and what can become of what is under way."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from tests.simulation.world import World

UP: Final = 0  # to the master
DOWN: Final = 1
# A network that is there is no slower than this.
_JITTER_MS: Final = 15


class End(Protocol):
    """Who holds one end of a connection."""

    def received(self, data: bytes) -> None: ...
    def hung_up(self) -> None: ...


class Path:
    """The network of one machine: whether it is cut, and how slow it is, each way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cut = [0, 0]  # how many faults cut it now
        self.slow_ms = [0, 0]
        self.backoff_ms = 0
        self.wires: list[Wire] = []
        self.newest: Wire | None = None

    @property
    def there(self) -> bool:
        return not any(self.cut)

    def set_cut(self, way: int, change: int) -> None:
        self.cut[way] += change
        if not self.cut[way]:
            for wire in list(self.wires):
                wire.resume(way)

    def reset(self) -> None:
        """Every connection breaks, at both ends at once, with all that is under way."""
        for wire in list(self.wires):
            wire.snap()

    def delay_ms(self, way: int) -> int:
        return self.slow_ms[way] + self.world.random.randrange(_JITTER_MS)


class Wire:
    """One TCP connection: each way in order, nothing twice, nothing left out before its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Who reads what comes up, and what comes down.
        self._ends: list[End | None] = [None, None]
        self._under_way: tuple[deque[bytes | None], ...] = (deque(), deque())
        self._due_ms: list[deque[int]] = [deque(), deque()]
        self._last_ms = [0, 0]
        self._tries_ms = [0, 0]  # when it finds out that a cut is over
        self._shut = [False, False]
        path.wires.append(self)
        path.newest = self

    def reads(self, way: int, end: End) -> None:
        self._ends[way] = end

    def send(self, way: int, data: bytes) -> None:
        if not self._shut[way]:
            self._put(way, data)

    def close(self, way: int) -> None:
        """By who sends this way. What is sent to him from now on goes nowhere."""
        if not self._shut[way]:
            self._put(way, None)
            self._shut[way] = True
        self._ends[1 - way] = None
        self._forget()

    def vanish(self, way: int) -> None:
        """Who sends this way is gone, and nobody tells the other end."""
        self._shut[way] = True
        self._ends[1 - way] = None
        self._forget()

    def snap(self) -> None:
        ends, self._ends = self._ends, [None, None]
        for way in (UP, DOWN):
            self._shut[way] = True
            self._under_way[way].clear()
            self._due_ms[way].clear()
        self._forget()
        for end in ends:
            if end is not None:
                end.hung_up()

    def _put(self, way: int, data: bytes | None) -> None:
        world = self._path.world
        at_ms = max(self._last_ms[way], world.now + self._path.delay_ms(way))
        self._last_ms[way] = at_ms
        self._under_way[way].append(data)
        self._due_ms[way].append(at_ms)
        world.at(at_ms, self.flow, way)

    def resume(self, way: int) -> None:
        """A cut is over. What was lost in it is sent again only some time later."""
        world, backoff_ms = self._path.world, self._path.backoff_ms
        if backoff_ms and self._under_way[way]:
            self._tries_ms[way] = world.now + world.random.randrange(backoff_ms)
            world.at(self._tries_ms[way], self.flow, way)
        else:
            self.flow(way)

    def flow(self, way: int) -> None:
        """All that is due comes in, unless the way is cut."""
        waiting, due_ms = self._under_way[way], self._due_ms[way]
        now = self._path.world.now
        while waiting and due_ms[0] <= now >= self._tries_ms[way] and not self._path.cut[way]:
            due_ms.popleft()
            data = waiting.popleft()
            end = self._ends[way]
            if end is None:
                continue
            if self._path.newest is not self:
                self._path.world.count("late on an old connection")
            if data is None:
                self._ends[way] = None
                self._forget()
                end.hung_up()
            else:
                end.received(data)

    def _forget(self) -> None:
        if self._ends == [None, None] and self in self._path.wires:
            self._path.wires.remove(self)
