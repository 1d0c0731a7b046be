"""Simulated master: the real core and turns in a process that is killed and restarted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import StateNotWritable, StoreFailed, StoreFull
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.inbox import Arrival
from mythjobs.master.turn_runner import CommittedTurn
from mythjobs.protocol.messages import Grant
from tests.simulation.lease_timer import SimLeaseTimer
from tests.simulation.master_link import SimMasterLink
from tests.simulation.master_service import OnBatch, SimMasterService
from tests.simulation.network import DOWN, SimConnection
from tests.simulation.plan import Plan
from tests.simulation.simulator import ScheduledCall, SimClock, Simulator
from tests.simulation.store import CheckedStore
from tests.simulation.turn_runner import SimTurnRunner, StoreNotWritable

_TURN_MS: Final = 3
_COMMIT_MS: Final = 5
_MAX_BATCH: Final = 512
# While there are schedules, the thread of the turns wakes in this interval.
_CLOCK_CHECK_MS: Final = 60_000
_RETRY_MS: Final = 1000
_RESTART_MS: Final = 5000

OnResponse = Callable[[Any], None]


class SimMaster:
    """Host of the master process; `process` is None while it is down."""

    def __init__(self, sim: Simulator, store: CheckedStore, plan: Plan) -> None:
        self.sim = sim
        self.store = store
        self.heartbeat_s = plan.beat_s
        self.retention = plan.retention
        self.granted: set[tuple[int, int]] = set()
        self.clock = SimClock(sim, plan.rates[0], 1_000_000)
        self.process: MasterProcess | None = None
        self.on_commit: Callable[[CommittedTurn], None] = lambda _: None
        self.on_start: Callable[[], None] = lambda: None
        # The store failed in a turn with these inputs: it may have the turn, or not.
        self.on_store_failure: Callable[[Sequence[Arrival]], None] = lambda _: None
        self._kill_faults = 0  # active faults that keep the process down
        self.start()

    def start(self) -> None:
        if not self._kill_faults and self.process is None:
            self.sim.trace("master", "starts")
            try:
                self.store.reopen_if_failed()
                self.on_start()
                self.process = MasterProcess(self)
            except (StoreFull, StoreFailed, StateNotWritable) as error:
                # The master exits with an error, and its supervisor restarts it.
                self.sim.trace("master", f"cannot start: {error.sentence}")
                self.sim.call_later(_RESTART_MS, self.start)

    def fail(self, error: StoreFailed) -> None:
        """Exit of a master whose store has failed; its supervisor restarts it."""
        self.sim.count("masters whose store failed")
        self.sim.trace("master", f"exits: {error.sentence}")
        self._end_process()
        self.sim.call_later(_RESTART_MS, self.start)

    def reboot(self, off_ms: int, *, lose_unsynced: bool = False) -> None:
        """Cut the power of the master's machine."""
        self.kill(off_ms)
        self.store.cut_power(None if lose_unsynced else self.sim.random)

    def kill(self, down_ms: int) -> None:
        self._kill_faults += 1
        self.sim.trace("master", f"is killed; restart in {down_ms / 1000} s")
        self._end_process()
        self.sim.call_later(down_ms, self._end_kill_fault)

    def _end_process(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.end()

    def _end_kill_fault(self) -> None:
        self._kill_faults -= 1
        self.start()

    def accept(self, connection: SimConnection) -> None:
        """Accept a connection; the kernel refuses it while no process listens."""
        if self.process is None:
            connection.close(DOWN)
        else:
            self.process.run(self.process.accept, connection)

    def send_request(self, request: requests.Request, on_response: OnResponse) -> None:
        """Send a request. A master that is down or killed sends no response."""
        if self.process is not None:
            self.process.run(self.process.put_request, request, on_response)

    def submit_batch(self, batch: dict[str, Any], on_batch: OnBatch) -> None:
        if self.process is not None:
            self.process.run(self.process.service.submit_batch, batch, on_batch)

    def prune(self, before_ms: int, states: Sequence[str]) -> None:
        if self.process is not None:
            self.process.run(self.process.service.prune, before_ms, states)


class MasterProcess:
    def __init__(self, master: SimMaster) -> None:
        self.sim = master.sim
        self.is_alive = True
        self.stalls = 0  # active faults that stop the process
        self.heartbeat_s = master.heartbeat_s
        self.store = master.store
        self._master = master
        self._clock = master.clock
        self._stalled_calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._links: dict[int, SimMasterLink] = {}
        self._connections = 0
        self._inbox: list[Arrival] = []
        self._is_turn_scheduled = False
        self._last_delivery_ms = 0
        self._due_call: ScheduledCall | None = None
        self.core = MasterCore(allow_local=True, local_jobs=None)
        self._turns = SimTurnRunner(master.store, self.core, self.now, self._on_commit)
        self._turns.load()
        self._lease_timer = SimLeaseTimer(
            self, lambda fired_ms: self.put_message(requests.LeaseTick(fired_ms))
        )
        self._lease_timer.set_due(self.core.state.next_expiry_ms)
        self._schedule_due_turn()
        self.service = SimMasterService(self, master.retention)

    def now(self) -> Now:
        return self._clock.now()

    def steady_ms(self) -> int:
        return self._clock.steady_ms()

    # Event loop.

    def call_at_steady(
        self, steady_ms: int, function: Callable[..., None], *args: Any
    ) -> ScheduledCall:
        return self.sim.call_at(self._clock.time_of_steady(steady_ms), self.run, function, *args)

    def call_later(self, delay_ms: int, function: Callable[..., None], *args: Any) -> None:
        self.call_at_steady(self.steady_ms() + delay_ms, function, *args)

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call `function` now, on resume while stalled, or never after the process has ended."""
        if not self.is_alive:
            return
        if self.stalls:
            self._stalled_calls.append((function, args))
        else:
            function(*args)

    def stall(self, duration_ms: int) -> None:
        self.sim.trace("master", f"is stopped for {duration_ms / 1000} s")
        self.stalls += 1
        self.sim.call_later(duration_ms, self._resume)

    def _resume(self) -> None:
        self.stalls -= 1
        if self.stalls or not self.is_alive:
            return
        self._lease_timer.on_resume()
        calls, self._stalled_calls = self._stalled_calls, []
        for function, args in calls:
            self.run(function, *args)

    def end(self) -> None:
        self.is_alive = False
        for link in self._links.values():
            link.kill()

    # Connections.

    def accept(self, connection: SimConnection) -> None:
        self._connections += 1
        self._links[self._connections] = SimMasterLink(self, connection, self._connections)

    def remove_link(self, link: SimMasterLink) -> None:
        self._links.pop(link.connection_no, None)

    def close_superseded(self, machine_id: int) -> None:
        for other in list(self._links.values()):
            if other.machine_id == machine_id:
                other.close()

    def count_grant(self, grant: Grant) -> None:
        key = grant.job, grant.n
        if key in self._master.granted:
            self.sim.count("grants sent again")
        self._master.granted.add(key)

    # Turns.

    def put_request(self, request: requests.Request, on_response: OnResponse) -> None:
        self._put(Arrival(request, on_response))  # type: ignore[arg-type]

    def put_message(self, message: requests.Message) -> None:
        self._put(Arrival(message))

    def _put(self, arrival: Arrival) -> None:
        self._inbox.append(arrival)
        self._schedule_turn(self.sim.random.randrange(_TURN_MS))

    def _schedule_turn(self, delay_ms: int) -> None:
        if not self._is_turn_scheduled:
            self._is_turn_scheduled = True
            self.sim.call_later(delay_ms, self.run, self._run_turn)

    def _run_turn(self) -> None:
        arrivals, self._inbox = self._inbox[:_MAX_BATCH], self._inbox[_MAX_BATCH:]
        self._is_turn_scheduled = False
        try:
            self._turns.run_turn(arrivals)
        except StoreNotWritable:
            # Messages of agents are kept until they can be stored.
            self._inbox = arrivals + self._inbox
            self._is_turn_scheduled = True
            self.call_later(_RETRY_MS, self._run_turn)
            return
        except StoreFailed as error:
            self._master.on_store_failure(arrivals)
            self._master.fail(error)
            return
        if self._inbox:
            self._schedule_turn(0)
        self._schedule_due_turn()

    def _schedule_due_turn(self) -> None:
        state = self.core.state
        if self._due_call is not None:
            self._due_call.cancel()
            self._due_call = None
        if state.has_upkeep:
            self._schedule_turn(0)
        elif state.next_due_ms is not None or state.schedules.by_id:
            waits_ms = [self._clock.to_simulated_ms(_CLOCK_CHECK_MS)] * bool(state.schedules.by_id)
            times_ms = [self.sim.now_ms + each for each in waits_ms]
            if state.next_due_ms is not None:
                times_ms.append(self._clock.time_of_wall(state.next_due_ms))
            self._due_call = self.sim.call_at(min(times_ms), self.run, self._schedule_turn, 0)

    def _on_commit(self, committed: CommittedTurn) -> None:
        self._master.on_commit(committed)
        # Results reach the event loop in the order of commits.
        at_ms = self.sim.now_ms + self.sim.random.randrange(_COMMIT_MS)
        self._last_delivery_ms = max(self._last_delivery_ms, at_ms)
        self.sim.call_at(self._last_delivery_ms, self.run, self._deliver, committed)

    def _deliver(self, committed: CommittedTurn) -> None:
        """Send messages and responses of a committed turn."""
        result = committed.result
        if result is not None:
            self._lease_timer.set_due(result.state.next_expiry_ms)
            for connection_no in sorted(result.outgoing.keys() | result.acks.keys()):
                if (link := self._links.get(connection_no)) is not None:
                    messages = result.outgoing.get(connection_no, [])
                    link.send(result.acks.get(connection_no, 0), messages)
        for connection_no in committed.failed_connections:
            if (link := self._links.get(connection_no)) is not None:
                link.close()
        for on_response, response in committed.responses:
            on_response(response)  # type: ignore[operator]
            # As web/routes/joining.py does.
            if isinstance(response, requests.RevokedMachine) and response.connection is not None:
                if (link := self._links.get(response.connection)) is not None:
                    link.close()
