"""Simulated link of the agent: model of agent/master_link.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.simulation.network import DOWN, UP, SimConnection
from tests.simulation.program import Key

if TYPE_CHECKING:
    from tests.simulation.agent import SimAgent

_HANDSHAKE_MS: Final = 10_000
_MAX_UNANSWERED: Final = 3
_FAST_RETRIES: Final = 25
_MIN_BACKOFF_MS: Final = 200
_MAX_BACKOFF_MS: Final = 5000


class _SentHeartbeat(NamedTuple):
    """steady_ms: by the machine's clock. sent_ms: simulated time."""

    steady_ms: int
    sent_ms: int
    held: list[Key]


class SimAgentLink:
    def __init__(self, agent: SimAgent) -> None:
        self._agent = agent
        self._machine = agent.machine
        self._sim = agent.sim
        self._connection: SimConnection | None = None
        self._is_connected = False
        self._retries = self._heartbeat_ms = 0
        # For the safety checker: attempts of each heartbeat, and when it was sent.
        self._sent_heartbeats: dict[int, _SentHeartbeat] = {}

    def connect(self) -> None:
        """Open a connection; a lost connection is reopened after a back-off."""
        path = self._machine.path
        self._connection = connection = SimConnection(path)
        connection.set_receiver(DOWN, _Receiver(self, connection))
        self._agent.call_later(_HANDSHAKE_MS, self._expire_handshake, connection)
        if path.is_connectable:
            accept = self._machine.master.accept
            self._sim.call_later(path.draw_delay_ms(UP), accept, connection)

    def end(self, *, vanish: bool) -> None:
        """End of the agent process: the kernel closes its connection, except on a power cut."""
        if self._connection is not None:
            (self._connection.vanish if vanish else self._connection.close)(UP)
            self._connection = None

    def send_frames(self) -> None:
        """Send all frames that the core has ready."""
        if not self._is_connected:
            return
        assert self._connection is not None
        while frame := self._agent.core.next_frame(self._machine.clock.now()):
            for each in frame.messages:
                if isinstance(each, m.Heartbeat):
                    held = [(one.job, one.n) for one in each.held]
                    steady_ms = self._machine.clock.steady_ms()
                    sent = _SentHeartbeat(steady_ms, self._sim.now_ms, held)
                    self._sent_heartbeats[each.hb] = sent
                    self._sent_heartbeats.pop(each.hb - 2, None)
                    continue
                if isinstance(each, m.Ended | m.Returned):
                    self._machine.checker.on_end_reported(self._machine, (each.job, each.n))
                if self._sim.is_tracing:
                    self._sim.trace(self._machine.name, f"sends {each}")
            self._connection.send(UP, codec.encode(frame))

    # Receiving.

    def on_data(self, connection: SimConnection, data: bytes) -> None:
        self._agent.run(self._handle_data, connection, data)

    def on_close(self, connection: SimConnection) -> None:
        self._agent.run(self._reconnect, connection)

    def _handle_data(self, connection: SimConnection, data: bytes) -> None:
        if connection is not self._connection:
            return
        if self._is_connected:
            frame = codec.decode_master_frame(data)
            self._notify_checker(frame)
            now = self._machine.clock.now()
            self._agent.execute(self._agent.core.on_master_frame(frame, now))
            return
        message = codec.decode_handshake(data)
        match message:
            case m.Challenge():
                connection.send(UP, codec.encode(self._hello()))
            case m.Welcome():
                self._on_welcome(message)
            case _:
                self._reconnect(connection)

    def _hello(self) -> m.Hello:
        machine = self._machine
        incarnation = f"{machine.boot_id}-{self._agent.number}"
        return m.Hello(
            m.VERSION, machine.key, "", "", machine.name, machine.boot_id,
            incarnation, 2, zone="UTC", can=sorted(m.CAPABILITIES),
        )  # fmt: skip

    def _on_welcome(self, welcome: m.Welcome) -> None:
        self._sim.trace(self._machine.name, "agent is connected")
        self._is_connected = True
        self._retries = 0
        self._sent_heartbeats.clear()
        self._machine.checker.on_slots(self._machine, welcome.jobs)
        self._machine.checker.control.on_control(self._machine, welcome.control)
        self._agent.core.on_connected(welcome.jobs)
        now = self._machine.clock.now()
        self._agent.execute(self._agent.core.change_control(welcome.control, now))
        self._heartbeat_ms = round(1000 * welcome.heartbeat_s)
        self._agent.call_later(self._heartbeat_ms, self._send_heartbeat, self._connection)
        self.send_frames()

    def _send_heartbeat(self, connection: SimConnection) -> None:
        if connection is not self._connection:
            return
        core = self._agent.core
        self._agent.execute(core.on_heartbeat_due(self._machine.clock.now()))
        if core.unanswered_heartbeats < _MAX_UNANSWERED:
            self._agent.call_later(self._heartbeat_ms, self._send_heartbeat, connection)
        elif connection is self._connection:
            self._sim.trace(self._machine.name, "agent disconnects: heartbeats are not answered")
            self._reconnect(connection)

    def _expire_handshake(self, connection: SimConnection) -> None:
        if not self._is_connected:
            self._reconnect(connection)

    def _reconnect(self, connection: SimConnection) -> None:
        if connection is not self._connection:
            return
        connection.close(UP)
        self._connection, self._is_connected = None, False
        self._agent.call_later(self._draw_backoff_ms(), self.connect)

    def _draw_backoff_ms(self) -> int:
        self._retries += 1
        if self._retries <= _FAST_RETRIES:
            return _MIN_BACKOFF_MS
        backoff_ms = _MIN_BACKOFF_MS * 1.5 ** (self._retries - _FAST_RETRIES)
        return round(min(backoff_ms, _MAX_BACKOFF_MS) * self._sim.random.uniform(0.7, 1.0))

    def _notify_checker(self, frame: m.MasterFrame) -> None:
        """Report grants, renewals and hours as received, however the core handles them."""
        machine = self._machine
        checker = machine.checker
        renewed: list[tuple[int, list[Key]]] = []
        for each in frame.messages:
            if self._sim.is_tracing and not isinstance(each, m.Renew):
                self._sim.trace(machine.name, f"receives {_summarize(each)}")
            if isinstance(each, m.Grant):
                key = each.job, each.n
                if (heartbeat := self._sent_heartbeats.get(each.hb)) is not None:
                    checker.on_grant(machine, each, heartbeat.steady_ms)
                checker.hours.on_hours(machine, key, each.hours)
                checker.limits.on_limit(machine, key, each.run.wall_s)
            elif isinstance(each, m.Renew):
                if (heartbeat := self._sent_heartbeats.get(each.hb)) is not None:
                    keys = [key for key in heartbeat.held if key not in set(each.excepted)]
                    for key in keys:
                        checker.on_renewal(machine, key, heartbeat.steady_ms)
                    renewed.append((heartbeat.sent_ms, keys))
                for rejected in each.excepted:
                    checker.on_rejection(machine, rejected)
            elif isinstance(each, m.HoursChanged):
                checker.hours.on_hours(machine, (each.job, each.n), each.hours)
            elif isinstance(each, m.LimitsChanged):
                checker.limits.on_limit(machine, (each.job, each.n), each.wall_s)
            elif isinstance(each, m.Freeze):
                checker.control.on_freeze((each.job, each.n), each.on)
            elif isinstance(each, m.Settings):
                checker.on_slots(machine, each.jobs)
                if each.control is not None:
                    checker.control.on_control(machine, each.control)
        for sent_ms, keys in renewed:
            checker.on_heartbeat_answer(machine, sent_ms, keys, machine.master.clock.wall_ms())


class _Receiver:
    def __init__(self, link: SimAgentLink, connection: SimConnection) -> None:
        self._link = link
        self._connection = connection

    def on_data(self, data: bytes) -> None:
        self._link.on_data(self._connection, data)

    def on_close(self) -> None:
        self._link.on_close(self._connection)


def _summarize(message: m.MasterMessage) -> str:
    if isinstance(message, m.Grant):
        lease = f"{message.lease_s} s" if message.lease_s else "no expiry"
        return f"grant {message.no} of {message.job, message.n} ({message.silence}, {lease})"
    return str(message)
