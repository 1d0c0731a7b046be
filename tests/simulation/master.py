"""The master's process around the real core and its turns, killed and begun again on one store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import StoreFull
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.turn_runner import Arrival, CommittedTurn
from mythjobs.protocol.messages import Grant
from tests.simulation.masterlink import MasterLink
from tests.simulation.patience import Patience
from tests.simulation.storeroom import SimStore
from tests.simulation.turns import Later, SimTurns
from tests.simulation.wire import DOWN, Wire
from tests.simulation.world import Clock, Event, World

_TURN_MS: Final = 3
_COMMIT_MS: Final = 5
_MOST_TOGETHER: Final = 512
_RETRY_MS: Final = 1000
_BEGUN_AGAIN_MS: Final = 5000

Answer = Callable[[Any], None]


class Master:
    """The place where a process is, or is not."""

    def __init__(self, world: World, store: SimStore, rate: int, beat_s: float) -> None:
        self.world = world
        self.store = store
        self.beat_s = beat_s
        self.offered: set[tuple[int, int]] = set()
        self.clock = Clock(world, rate, 1_000_000)
        self.process: Process | None = None
        self.committed: Callable[[Process, CommittedTurn], None] = lambda *_: None
        self._down = 0
        self.start()

    def start(self) -> None:
        if not self._down and self.process is None:
            self.world.say("master", "starts")
            try:
                self.process = Process(self)
            except StoreFull:
                # It ends with a sentence; whoever watches over it begins it again.
                self.world.say("master", "cannot start: the disk of its store is full")
                self.world.after(_BEGUN_AGAIN_MS, self.start)

    def kill(self, away_ms: int) -> None:
        self._down += 1
        self.world.say("master", f"is killed, and comes again in {away_ms / 1000} s")
        process, self.process = self.process, None
        if process is not None:
            process.end()
        self.world.after(away_ms, self._back)

    def _back(self) -> None:
        self._down -= 1
        self.start()

    def knocked(self, wire: Wire) -> None:
        """A machine opens a connection; where nobody listens the kernel refuses it."""
        if self.process is None:
            wire.close(DOWN)
        else:
            self.process.run(self.process.accept, wire)

    def ask(self, request: requests.Request, answer: Answer) -> bool:
        """Whether there is a master to ask. One that is killed never answers."""
        if self.process is None:
            return False
        self.process.run(self.process.ask, request, answer)
        return True


class Process:
    def __init__(self, master: Master) -> None:
        self.world = master.world
        self.alive = True
        self.stalled = 0
        self.beat_s = master.beat_s
        self._master = master
        self._clock = master.clock
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._links: dict[int, MasterLink] = {}
        self._connections = 0
        self._inbox: list[Arrival] = []
        self._turning = False
        self._told_ms = 0
        self._due: Event | None = None
        self.core = MasterCore(allow_local=True, local_jobs=None)
        self._turns = SimTurns(master.store, self.core, self.now, self._committed)
        self._turns.load()
        self._patience = Patience(self, lambda read_ms: self.post(requests.LeaseTick(read_ms)))
        self._patience.until(self.core.state.next_expiry_ms)
        self._wait()

    def now(self) -> Now:
        return self._clock.now()

    def steady(self) -> int:
        return self._clock.steady()

    # Waiting.

    def at_steady(self, steady_ms: int, do: Callable[..., None], *args: Any) -> Event:
        return self.world.at(self._clock.when(steady_ms), self.run, do, *args)

    def later(self, delay_ms: int, do: Callable[..., None], *args: Any) -> None:
        self.at_steady(self.steady() + delay_ms, do, *args)

    def run(self, do: Callable[..., None], *args: Any) -> None:
        if not self.alive:
            return
        if self.stalled:
            self._backlog.append((do, args))
        else:
            do(*args)

    def stall(self, for_ms: int) -> None:
        self.world.say("master", f"stands still for {for_ms / 1000} s")
        self.stalled += 1
        self.world.after(for_ms, self._resume)

    def _resume(self) -> None:
        self.stalled -= 1
        if self.stalled or not self.alive:
            return
        self._patience.stood_still()
        backlog, self._backlog = self._backlog, []
        for do, args in backlog:
            self.run(do, *args)

    def end(self) -> None:
        self.alive = False
        for link in self._links.values():
            link.killed()

    # Connections.

    def accept(self, wire: Wire) -> None:
        self._connections += 1
        self._links[self._connections] = MasterLink(self, wire, self._connections)

    def gone(self, link: MasterLink) -> None:
        self._links.pop(link.connection, None)

    def supersede(self, machine_id: int) -> None:
        for other in list(self._links.values()):
            if other.machine_id == machine_id:
                other.close()

    def offers(self, grant: Grant) -> None:
        key = grant.job, grant.n
        if key in self._master.offered:
            self.world.count("grants offered again")
        self._master.offered.add(key)

    # Turns.

    def ask(self, request: requests.Request, answer: Answer) -> None:
        self._put(Arrival(request, answer))  # type: ignore[arg-type]

    def post(self, message: requests.Message) -> None:
        self._put(Arrival(message))

    def _put(self, arrived: Arrival) -> None:
        self._inbox.append(arrived)
        self._turn_soon(self.world.random.randrange(_TURN_MS))

    def _turn_soon(self, delay_ms: int) -> None:
        if not self._turning:
            self._turning = True
            self.world.after(delay_ms, self.run, self._turn)

    def _turn(self) -> None:
        arrived, self._inbox = self._inbox[:_MOST_TOGETHER], self._inbox[_MOST_TOGETHER:]
        self._turning = False
        try:
            self._turns.turn(arrived)
        except Later:
            # What machines said is kept until it can be written down.
            self._inbox = arrived + self._inbox
            self._turning = True
            self.later(_RETRY_MS, self._turn)
            return
        if self._inbox:
            self._turn_soon(0)
        self._wait()

    def _wait(self) -> None:
        memory = self.core.state
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if memory.has_batch_upkeep:
            self._turn_soon(0)
        elif memory.next_due_ms is not None:
            at_ms = self._clock.when_wall(memory.next_due_ms)
            self._due = self.world.at(at_ms, self.run, self._turn_soon, 0)

    def _committed(self, committed: CommittedTurn) -> None:
        self._master.committed(self, committed)
        # One commit after the other, as the loop is called from the store's thread.
        at_ms = self.world.now + self.world.random.randrange(_COMMIT_MS)
        self._told_ms = max(self._told_ms, at_ms)
        self.world.at(self._told_ms, self.run, self._deliver, committed)

    def _deliver(self, committed: CommittedTurn) -> None:
        result = committed.result
        if result is not None:
            self._patience.until(result.state.next_expiry_ms)
            for connection in sorted(result.outgoing.keys() | result.acks.keys()):
                if (link := self._links.get(connection)) is not None:
                    said = result.outgoing.get(connection, [])
                    link.deliver(result.acks.get(connection, 0), said)
        for connection in committed.failed_connections:
            if (link := self._links.get(connection)) is not None:
                link.close()
        for asked, answer in committed.responses:
            asked(answer)  # type: ignore[operator]
