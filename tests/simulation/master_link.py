"""Simulated link of the master: model of master/link/server.py for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mythjobs.errors import MythJobsError
from mythjobs.master.link.server import SILENCE_TIMEOUT_S
from mythjobs.master.requests import Attach, Attached, Detached, FrameReceived
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.simulation.network import DOWN, UP, SimConnection

if TYPE_CHECKING:
    from tests.simulation.master import MasterProcess

# The product's silence timeout, in heartbeats: plans have other heartbeat intervals.
_SILENCE_HEARTBEATS: Final = SILENCE_TIMEOUT_S / m.HEARTBEAT_S
_HANDSHAKE_MS: Final = 10_000


class SimMasterLink:
    def __init__(
        self, process: MasterProcess, connection: SimConnection, connection_no: int
    ) -> None:
        self.connection_no = connection_no
        self.machine_id = 0
        self.is_closed = False
        self._process = process
        self._connection = connection
        self._hello: m.Hello | None = None
        self._is_attached = False
        self._early_data: list[bytes] = []  # received before the machine is attached
        self._ack = 0
        self._messages: list[m.MasterMessage] = []
        self._received_ms = 0  # steady clock
        self._silence_timeout_ms = round(1000 * _SILENCE_HEARTBEATS * process.heartbeat_s)
        connection.set_receiver(UP, self)
        challenge = m.Challenge("", m.OLDEST_VERSION, m.VERSION, "")
        connection.send(DOWN, codec.encode(challenge))
        process.call_later(_HANDSHAKE_MS, self._expire_handshake)

    # Receiving.

    def on_data(self, data: bytes) -> None:
        self._process.run(self._handle_data, data)

    def on_close(self) -> None:
        self._process.run(self.close)

    def _handle_data(self, data: bytes) -> None:
        if self.is_closed:
            return
        if self._hello is None:
            hello = codec.decode_handshake(data)
            assert isinstance(hello, m.Hello)
            self._hello = hello
            # As on the master's own machine, only a machine's first key needs no approval.
            is_trusted = hello.machine_key == f"key of {hello.name}"
            attach = Attach(hello, is_trusted, self.connection_no)
            self._process.put_request(attach, self._on_response)
        elif not self._is_attached:
            self._early_data.append(data)
        else:
            self._received_ms = self._process.steady_ms()
            frame = codec.decode_agent_frame(data)
            self._process.put_message(FrameReceived(self.connection_no, frame))

    def _on_response(self, response: Any) -> None:
        """Handle the response to Attach."""
        if self.is_closed:
            return
        if isinstance(response, MythJobsError):
            refused = m.Refused(response.code, response.sentence)
            self._connection.send(DOWN, codec.encode(refused))
            self.close()
            return
        assert isinstance(response, Attached)
        self._is_attached = True
        heartbeat_s = self._process.heartbeat_s
        welcome = m.Welcome(
            m.VERSION, "", response.machine_id, response.jobs, heartbeat_s,
            footprints=response.footprints, control=response.control,
        )  # fmt: skip
        self._connection.send(DOWN, codec.encode(welcome))
        self._process.close_superseded(response.machine_id)
        self.machine_id = response.machine_id
        self._received_ms = self._process.steady_ms()
        self._process.call_later(self._silence_timeout_ms, self._check_silence)
        self._send_pending()
        early, self._early_data = self._early_data, []
        for data in early:
            self._handle_data(data)

    def _expire_handshake(self) -> None:
        if not self._is_attached:
            self.close()

    def _check_silence(self) -> None:
        if self.is_closed:
            return
        left_ms = self._received_ms + self._silence_timeout_ms - self._process.steady_ms()
        if left_ms <= 0:
            self.close()
        else:
            self._process.call_later(left_ms, self._check_silence)

    # Sending.

    def send(self, ack: int, messages: list[m.MasterMessage]) -> None:
        self._ack = max(self._ack, ack)
        self._messages += messages
        for each in messages:
            if isinstance(each, m.Grant):
                self._process.count_grant(each)
        if self._is_attached:
            self._send_pending()

    def _send_pending(self) -> None:
        if self.is_closed or not (self._ack or self._messages):
            return
        frame = m.MasterFrame(self._ack, self._messages)
        self._ack, self._messages = 0, []
        self._connection.send(DOWN, codec.encode(frame))

    def close(self) -> None:
        if self.is_closed:
            return
        self.kill()
        self._process.remove_link(self)
        if self._hello is not None:
            self._process.put_message(Detached(self.connection_no))

    def kill(self) -> None:
        """Close the connection without notifying the core: the process has ended."""
        self.is_closed = True
        self._connection.close(DOWN)
