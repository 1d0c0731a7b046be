"""The agent's WebSocket connection to the master: handshake, reconnection, heartbeats, frames."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from typing import Final, Protocol

from websockets.exceptions import WebSocketException

from mythjobs.agent.connection_history import STABLE_S, ConnectionHistory
from mythjobs.agent.handshake import AgentIdentity, build_hello, verify_welcome
from mythjobs.agent.master_address import (
    HANDSHAKE_S,
    MasterAddress,
    find_master,
    read_fingerprint,
)
from mythjobs.agent.master_socket import MasterSocket
from mythjobs.clock import Now, machine_now
from mythjobs.config.state import StateDir
from mythjobs.errors import ProtocolError
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_MAX_UNANSWERED: Final = 3
# Longest part of a cause that is logged: some of it comes from the master.
_MAX_CAUSE: Final = 500
_NO_MORE: Final = f"; the next ones that last less than {STABLE_S:g} s are not logged"
_CANNOT_CONNECT: Final = "cannot connect to the master"
_VIOLATED: Final = "connection closed, as the master violated the protocol"

log = logging.getLogger(__name__)


class LinkHandler(Protocol):
    """Interface of MasterLink to its owner, which receives the master's frames and provides the
    frames to send."""

    def on_connected(self, welcome: m.Welcome) -> None: ...
    def on_disconnected(self) -> None: ...
    def on_frame(self, frame: m.MasterFrame, now: Now) -> None: ...
    def on_heartbeat_due(self, now: Now) -> None: ...
    def next_frame(self, now: Now) -> m.AgentFrame | None: ...
    def next_chunk(self) -> bytes | None: ...
    def next_frame_ms(self) -> int | None: ...

    @property
    def unanswered_heartbeats(self) -> int: ...


class MasterLink:
    def __init__(self, state: StateDir, identity: AgentIdentity, handler: LinkHandler) -> None:
        self._state = state
        self._identity = identity
        self._handler = handler
        self._socket: MasterSocket | None = None
        self._is_sending = self._is_asked_again = False
        self._alarm: asyncio.TimerHandle | None = None
        self._history = ConnectionHistory()
        self.is_connected = False

    def send_pending(self) -> None:
        """Send the frames and the output that the handler has, as fast as the master reads them.
        Called whenever the handler may have something to send."""
        if self._is_sending:
            # The handler calls this method in next_frame() or next_chunk().
            self._is_asked_again = True
            return
        self._is_sending = True
        try:
            while self._send_next():
                pass
        except OSError:
            pass  # pass_messages() returns
        except Exception as error:
            if self._socket is not None:
                self._socket.end(error)
        finally:
            self._is_sending = False

    def _send_next(self) -> bool:
        """Send one frame or chunk of output. Return False if there is none, or none may be sent."""
        socket, handler = self._socket, self._handler
        if socket is None or not socket.is_writable:
            return False
        self._is_asked_again = False
        if (frame := handler.next_frame(machine_now())) is not None:
            socket.send_message(codec.encode(frame), is_text=True)
        elif (chunk := handler.next_chunk()) is not None:
            socket.send_message(chunk, is_text=False)
        elif not self._is_asked_again:
            self._set_alarm()
            return False
        return True

    async def run(self) -> None:
        """Keep a connection to the master until cancelled. Log a failure to connect only if its
        cause differs from the one logged last."""
        history, loop = self._history, asyncio.get_running_loop()
        while True:
            address = find_master(self._state)
            cause, is_violation = "", False
            try:
                await self._connect(address)
            except asyncio.CancelledError:
                self._on_disconnected(is_logged=False)  # the agent ends, and does not reconnect
                raise
            except (OSError, TimeoutError, ProtocolError, WebSocketException) as error:
                is_violation = self.is_connected and isinstance(error, ProtocolError)
                what = _VIOLATED if is_violation else _CANNOT_CONNECT
                cause = f"{what}: {_describe(error, address)[:_MAX_CAUSE]}"
            finally:
                logs_end = history.logs_connection
                is_new_cause = history.record_end(loop.time(), cause, is_violation=is_violation)
                if is_new_cause:
                    log.warning("%s", cause)
                self._on_disconnected(logs_end)
            await asyncio.sleep(history.take_delay_s(address.is_local))

    def _on_disconnected(self, is_logged: bool) -> None:
        if self.is_connected:
            self.is_connected = False
            self._handler.on_disconnected()
            if is_logged:
                log.warning(
                    "connection to the master lost; jobs keep running, reconnecting%s",
                    _NO_MORE if self._history.was_last_logged else "",
                )
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _connect(self, address: MasterAddress) -> None:
        async with address.connect(self._history.failures) as socket:
            async with asyncio.timeout(HANDSHAKE_S):
                welcome = await self._handshake(socket, address)
            self.is_connected = True
            loop = asyncio.get_running_loop()
            self._history.record_begin(loop.time())
            if self._history.logs_connection:
                _log_connected(welcome)
            stable = loop.call_later(STABLE_S, self._on_stable, welcome)
            try:
                self._handler.on_connected(welcome)
                await self._serve(socket, welcome.heartbeat_s)
            finally:
                stable.cancel()

    def _on_stable(self, welcome: m.Welcome) -> None:
        if self._history.record_stable():
            _log_connected(welcome)

    async def _handshake(self, socket: MasterSocket, address: MasterAddress) -> m.Welcome:
        challenge = codec.decode_handshake(await socket.receive_message())
        if not isinstance(challenge, m.Challenge):
            raise ProtocolError("unexpected handshake message from the master; challenge expected")
        nonce = secrets.token_hex(32)
        hello, statement = build_hello(
            challenge,
            self._identity,
            nonce,
            address.trusted_key,
            channel=read_fingerprint(socket),
        )
        socket.send_message(codec.encode(hello), is_text=True)
        answer = codec.decode_handshake(await socket.receive_message())
        return verify_welcome(answer, challenge.master_key, statement)

    async def _serve(self, socket: MasterSocket, heartbeat_s: float) -> None:
        """Exchange frames and send heartbeats until the connection ends."""
        self._socket = socket
        heartbeats = asyncio.create_task(self._send_heartbeats(socket, heartbeat_s))
        try:
            self.send_pending()
            await socket.pass_messages(self._on_message, self.send_pending)
        except asyncio.CancelledError:
            socket.send_close()  # so that the master does not wait for heartbeats of an ended agent
            raise
        finally:
            self._socket = None
            heartbeats.cancel()
            await asyncio.wait([heartbeats])
            socket.transport.abort()
        if not heartbeats.cancelled():
            heartbeats.result()

    def _on_message(self, data: bytes) -> None:
        self._handler.on_frame(codec.decode_master_frame(data), machine_now())

    async def _send_heartbeats(self, socket: MasterSocket, heartbeat_s: float) -> None:
        try:
            while self._handler.unanswered_heartbeats < _MAX_UNANSWERED:
                await asyncio.sleep(heartbeat_s)
                self._handler.on_heartbeat_due(machine_now())
            log.warning("the master did not answer %d heartbeats; reconnecting", _MAX_UNANSWERED)
        finally:
            socket.transport.abort()

    def _set_alarm(self) -> None:
        """Set a timer for when rate-limited progress may be sent."""
        due_ms = self._handler.next_frame_ms()
        if due_ms is None or self._alarm is not None:
            return
        delay_s = max(0.0, (due_ms - machine_now().steady_ms) / 1000)
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self.send_pending()


def _log_connected(welcome: m.Welcome) -> None:
    log.info("connected to the master as machine %d", welcome.machine_id)


def _describe(error: Exception, address: MasterAddress) -> str:
    if isinstance(error, ProtocolError):
        return error.sentence
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no master runs {address.describe()}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the master {address.describe()} is not of the authority that this "
            "machine has joined; if the master was set up again, join it again"
        )
    return f"{type(error).__name__}: {error}"
