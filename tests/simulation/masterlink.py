"""One machine's connection at the master, as master/link/server.py serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mythjobs.errors import MythJobsError
from mythjobs.master.link.server import SILENCE_TIMEOUT_S
from mythjobs.master.requests import Attach, Attached, Detached, FrameReceived
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.simulation.wire import DOWN, UP, Wire

if TYPE_CHECKING:
    from tests.simulation.master import Process

# As master/link/server.py has it, in heartbeats.
_SILENT_BEATS: Final = SILENCE_TIMEOUT_S / m.HEARTBEAT_S
_HANDSHAKE_MS: Final = 10_000


class MasterLink:
    def __init__(self, process: Process, wire: Wire, connection: int) -> None:
        self.connection = connection
        self.machine_id = 0
        self.closed = False
        self._process = process
        self._wire = wire
        self._hello: m.Hello | None = None
        self._attached = False
        self._early: list[bytes] = []
        self._ack = 0
        self._messages: list[m.MasterMessage] = []
        self._heard_ms = 0
        self._silence_ms = round(1000 * _SILENT_BEATS * process.beat_s)
        wire.reads(UP, self)
        wire.send(DOWN, codec.encode(m.Challenge("", m.OLDEST_VERSION, m.VERSION, "")))
        process.later(_HANDSHAKE_MS, self._out_of_patience)

    # The wire's end.

    def received(self, data: bytes) -> None:
        self._process.run(self._received, data)

    def hung_up(self) -> None:
        self._process.run(self.close)

    def _received(self, data: bytes) -> None:
        if self.closed:
            return
        if self._hello is None:
            hello = codec.decode_handshake(data)
            assert isinstance(hello, m.Hello)
            self._hello = hello
            self._process.ask(Attach(hello, True, self.connection), self._answered)
        elif not self._attached:
            self._early.append(data)
        else:
            self._heard_ms = self._process.steady()
            frame = codec.decode_agent_frame(data)
            self._process.post(FrameReceived(self.connection, frame))

    def _answered(self, answer: Any) -> None:
        if self.closed:
            return
        if isinstance(answer, MythJobsError):
            self._wire.send(DOWN, codec.encode(m.Refused(answer.code, answer.sentence)))
            self.close()
            return
        assert isinstance(answer, Attached)
        self._attached = True
        beat_s = self._process.beat_s
        welcome = m.Welcome(m.VERSION, "", answer.machine_id, answer.jobs, beat_s)
        self._wire.send(DOWN, codec.encode(welcome))
        self._process.supersede(answer.machine_id)
        self.machine_id = answer.machine_id
        self._heard_ms = self._process.steady()
        self._process.later(self._silence_ms, self._patience)
        self._write()
        early, self._early = self._early, []
        for data in early:
            self._received(data)

    def _out_of_patience(self) -> None:
        if not self._attached:
            self.close()

    def _patience(self) -> None:
        if self.closed:
            return
        left_ms = self._heard_ms + self._silence_ms - self._process.steady()
        if left_ms <= 0:
            self.close()
        else:
            self._process.later(left_ms, self._patience)

    # What the turns say.

    def deliver(self, ack: int, messages: list[m.MasterMessage]) -> None:
        self._ack = max(self._ack, ack)
        self._messages += messages
        for each in messages:
            if isinstance(each, m.Grant):
                self._process.offers(each)
        if self._attached:
            self._write()

    def _write(self) -> None:
        if self.closed or not (self._ack or self._messages):
            return
        frame = m.MasterFrame(self._ack, self._messages)
        self._ack, self._messages = 0, []
        self._wire.send(DOWN, codec.encode(frame))

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._wire.close(DOWN)
        self._process.gone(self)
        if self._hello is not None:
            self._process.post(Detached(self.connection))

    def killed(self) -> None:
        self.closed = True
        self._wire.close(DOWN)
