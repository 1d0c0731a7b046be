"""The agent's connection, as agent/master_link.py keeps it: found again, written to, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.simulation.program import Key
from tests.simulation.wire import DOWN, UP, Wire

if TYPE_CHECKING:
    from tests.simulation.agent import Agent

_HANDSHAKE_MS: Final = 10_000
_MOST_UNANSWERED: Final = 3
_FIRST_TRIES: Final = 25
_FIRST_MS: Final = 200
_LAST_MS: Final = 5000


class AgentLink:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._machine = agent.machine
        self._world = agent.world
        self._wire: Wire | None = None
        self._connected = False
        self._tries = self._beat_ms = 0
        # As the witness counts: when each heartbeat was sent, and what it told of.
        self._sent: dict[int, tuple[int, list[Key]]] = {}

    def keep(self) -> None:
        """One connection after another."""
        self._wire = wire = Wire(self._machine.path)
        wire.reads(DOWN, _End(self, wire))
        self._agent.later(_HANDSHAKE_MS, self._out_of_patience, wire)
        if self._machine.path.there:
            delay_ms = self._machine.path.delay_ms(UP)
            self._world.after(delay_ms, self._machine.master.knocked, wire)

    def end(self, *, vanish: bool) -> None:
        """The agent is dead: the kernel closes its connection, if there still is one."""
        if self._wire is not None:
            (self._wire.vanish if vanish else self._wire.close)(UP)
            self._wire = None

    def wake(self) -> None:
        """Everything that may be said now."""
        if not self._connected:
            return
        assert self._wire is not None
        while frame := self._agent.core.next_frame(self._machine.clock.now()):
            for each in frame.messages:
                if isinstance(each, m.Heartbeat):
                    held = [(one.job, one.n) for one in each.held]
                    self._sent[each.hb] = self._machine.clock.steady(), held
                    self._sent.pop(each.hb - 2, None)
                    continue
                if isinstance(each, m.Ended | m.Returned):
                    self._machine.witness.told(self._machine, (each.job, each.n))
                if self._world.tracing:
                    self._world.say(self._machine.name, f"says {each}")
            self._wire.send(UP, codec.encode(frame))

    # What comes.

    def received(self, wire: Wire, data: bytes) -> None:
        self._agent.run(self._received, wire, data)

    def hung_up(self, wire: Wire) -> None:
        self._agent.run(self._lost, wire)

    def _received(self, wire: Wire, data: bytes) -> None:
        if wire is not self._wire:
            return
        if self._connected:
            frame = codec.decode_master_frame(data)
            self._witness(frame)
            now = self._machine.clock.now()
            self._agent.carry_out(self._agent.core.on_master_frame(frame, now))
            return
        message = codec.decode_handshake(data)
        match message:
            case m.Challenge():
                wire.send(UP, codec.encode(self._hello()))
            case m.Welcome():
                self._welcome(message)
            case _:
                wire.close(UP)
                self._lost(wire)

    def _hello(self) -> m.Hello:
        machine = self._machine
        incarnation = f"{machine.boot_id}-{self._agent.number}"
        return m.Hello(
            m.VERSION, f"key of {machine.name}", "", "", machine.name, machine.boot_id,
            incarnation, 2, zone="UTC", can=sorted(m.CAPABILITIES),
        )  # fmt: skip

    def _welcome(self, welcome: m.Welcome) -> None:
        self._world.say(self._machine.name, "is connected")
        self._connected = True
        self._tries = 0
        self._sent.clear()
        self._agent.core.on_connected(welcome.jobs)
        self._beat_ms = round(1000 * welcome.heartbeat_s)
        self._agent.later(self._beat_ms, self._beat, self._wire)
        self.wake()

    def _beat(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        core = self._agent.core
        self._agent.carry_out(core.on_heartbeat_due(self._machine.clock.now()))
        if core.unanswered_heartbeats < _MOST_UNANSWERED:
            self._agent.later(self._beat_ms, self._beat, wire)
        elif wire is self._wire:
            self._world.say(self._machine.name, "is not answered, and hangs up")
            wire.close(UP)
            self._lost(wire)

    def _out_of_patience(self, wire: Wire) -> None:
        if wire is self._wire and not self._connected:
            wire.close(UP)
            self._lost(wire)

    def _lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        wire.close(UP)
        self._wire, self._connected = None, False
        self._agent.later(self._wait_ms(), self.keep)

    def _wait_ms(self) -> int:
        self._tries += 1
        if self._tries <= _FIRST_TRIES:
            return _FIRST_MS
        most = min(_FIRST_MS * 1.5 ** (self._tries - _FIRST_TRIES), _LAST_MS)
        return round(most * self._world.random.uniform(0.7, 1.0))

    def _witness(self, frame: m.MasterFrame) -> None:
        """What this allows, whatever the core makes of it."""
        machine = self._machine
        witness = machine.witness
        for each in frame.messages:
            if self._world.tracing and not isinstance(each, m.Renew):
                self._world.say(machine.name, f"hears {_short(each)}")
            if isinstance(each, m.Grant):
                key = each.job, each.n
                if (sent := self._sent.get(each.hb)) is not None:
                    witness.granted(machine, each, sent[0])
                witness.hours.told(machine, key, each.hours)
            elif isinstance(each, m.Renew) and (sent := self._sent.get(each.hb)) is not None:
                barred = set(each.excepted)
                for key in sent[1]:
                    if key not in barred:
                        witness.renewed(machine, key, sent[0])
            elif isinstance(each, m.HoursChanged):
                witness.hours.told(machine, (each.job, each.n), each.hours)


class _End:
    def __init__(self, link: AgentLink, wire: Wire) -> None:
        self._link = link
        self._wire = wire

    def received(self, data: bytes) -> None:
        self._link.received(self._wire, data)

    def hung_up(self) -> None:
        self._link.hung_up(self._wire)


def _short(message: m.MasterMessage) -> str:
    if isinstance(message, m.Grant):
        lease = f"{message.lease_s} s" if message.lease_s else "for ever"
        return f"grant {message.no} of {message.job, message.n} ({message.silence}, {lease})"
    return str(message)
