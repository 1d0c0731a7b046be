"""The agent's WebSocket connection to the master: handshake, reconnection, heartbeats, frames."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from typing import Final, Protocol

from websockets.exceptions import WebSocketException

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
# The first _FAST_RETRIES attempts to connect follow each other at _FAST_RETRY_S, because `mythjobs
# up` starts master and agent together. Later the interval grows to _MAX_RETRY_S, so that attempts
# cost little while the master is down for hours.
_FAST_RETRIES: Final = 25
_FAST_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 5.0
_MAX_NETWORK_RETRY_S: Final = 30.0

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
        failures = 0
        logged = ""
        while True:
            address = find_master(self._state)
            try:
                await self._connect(address, failures)
                failures, logged = 0, ""
            except (OSError, TimeoutError, ProtocolError, WebSocketException) as error:
                if self.is_connected:
                    failures, logged = 0, ""
                if (cause := _describe(error, address)) != logged:
                    log.warning("cannot connect to the master: %s", logged := cause)
            finally:
                self._on_disconnected()
            await asyncio.sleep(choose_retry_delay_s(failures, address.is_local))
            failures += 1

    def _on_disconnected(self) -> None:
        if self.is_connected:
            self.is_connected = False
            self._handler.on_disconnected()
            log.warning("connection to the master lost; jobs keep running, reconnecting")
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _connect(self, address: MasterAddress, failures: int) -> None:
        async with address.connect(failures) as socket:
            async with asyncio.timeout(HANDSHAKE_S):
                welcome = await self._handshake(socket, address)
            self.is_connected = True
            log.info("connected to the master as machine %d", welcome.machine_id)
            self._handler.on_connected(welcome)
            await self._serve(socket, welcome.heartbeat_s)

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


def choose_retry_delay_s(failures: int, is_local: bool) -> float:
    """Return how long to wait before connecting again. failures: since the last connection."""
    if not is_local:
        # Full jitter: the agents of a master that starts again must not all connect at once.
        return random.uniform(0.1, min(2.0 ** min(failures + 1, 10), _MAX_NETWORK_RETRY_S))
    if failures < _FAST_RETRIES:
        return _FAST_RETRY_S
    steps = min(failures - _FAST_RETRIES + 1, 20)
    return min(_FAST_RETRY_S * 1.5**steps, _MAX_RETRY_S) * random.uniform(0.7, 1.0)


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
