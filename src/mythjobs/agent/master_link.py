"""The agent's WebSocket connection to the master: handshake, reconnection, heartbeats, frames."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from mythjobs import __version__
from mythjobs.clock import Now, machine_now
from mythjobs.config import keys
from mythjobs.config.state import StateDir, read_master_info
from mythjobs.errors import ProtocolError
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m

_HANDSHAKE_S: Final = 10.0
_MAX_UNANSWERED: Final = 3
# The first _FAST_RETRIES attempts to connect follow each other at _FAST_RETRY_S, because `mythjobs
# up` starts master and agent together. Later the interval grows to _MAX_RETRY_S, so that attempts
# cost little while the master is down for hours.
_FAST_RETRIES: Final = 25
_FAST_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 5.0

log = logging.getLogger(__name__)


class AgentIdentity(NamedTuple):
    """Key and description of this machine for the hello to the master. `incarnation` is a random
    identifier of this agent process."""

    key: Ed25519PrivateKey
    name: str
    boot_id: str
    incarnation: str
    zone: str = ""
    can: tuple[str, ...] = ()


def build_hello(
    challenge: m.Challenge, identity: AgentIdentity, nonce: str, trusted_key: str | None
) -> tuple[m.Hello, bytes]:
    """Return the hello that answers the master's challenge, and the bytes whose signature the
    master's welcome must contain.

    Raises ProtocolError if the master's key is not `trusted_key`, or if master and agent have no
    protocol version in common.
    """
    if challenge.master_key != trusted_key:
        raise ProtocolError(
            "the master's key is not the one in master.pub of this state directory: another "
            "program answers at the master's socket"
        )
    version = min(challenge.newest, m.VERSION)
    if version < max(challenge.oldest, m.OLDEST_VERSION):
        raise ProtocolError(
            f"no common version of the link protocol: the master has {challenge.oldest} to "
            f"{challenge.newest}, this agent {m.OLDEST_VERSION} to {m.VERSION}; "
            "upgrade the older one"
        )
    machine_key = handshake.encode_public_key(identity.key)
    signed = (challenge.nonce, nonce, challenge.master_key, machine_key)
    hello = m.Hello(
        version,
        machine_key,
        nonce,
        handshake.sign(identity.key, handshake.build_transcript("machine", *signed)),
        identity.name,
        identity.boot_id,
        identity.incarnation,
        cores=os.cpu_count() or 1,
        program=f"mythjobs {__version__}",
        zone=identity.zone,
        can=list(identity.can),
    )
    return hello, handshake.build_transcript("master", *signed)


def verify_welcome(
    message: m.Challenge | m.Hello | m.Welcome | m.Refused, trusted_key: str, statement: bytes
) -> m.Welcome:
    """Return the master's answer to the hello if it is a welcome with a signature of `statement` by
    `trusted_key`. Raises ProtocolError otherwise."""
    if isinstance(message, m.Refused):
        raise ProtocolError(f"the master refused this machine: {message.sentence}")
    if not isinstance(message, m.Welcome):
        raise ProtocolError("unexpected handshake message from the master; welcome expected")
    handshake.verify(trusted_key, message.signature, statement)
    return message


class LinkHandler(Protocol):
    """Interface of MasterLink to its owner, which receives the master's frames and provides the
    frames to send."""

    def on_connected(self, jobs: int) -> None: ...
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
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self.is_connected = False

    def wake(self) -> None:
        """Let the sender task ask the handler for frames to send."""
        self._wake.set()

    async def run(self) -> None:
        """Keep a connection to the master until cancelled. Log a failure to connect only if its
        cause differs from the one logged last."""
        delays = _retry_delays()
        logged = ""
        while True:
            try:
                await self._connect()
                logged = ""
                delays = _retry_delays()
            except (OSError, TimeoutError, ProtocolError, WebSocketException) as error:
                if self.is_connected:
                    logged = ""
                    delays = _retry_delays()
                if (cause := _describe(error)) != logged:
                    log.warning("cannot connect to the master: %s", logged := cause)
            finally:
                self._on_disconnected()
            await asyncio.sleep(next(delays))

    def _on_disconnected(self) -> None:
        if self.is_connected:
            self.is_connected = False
            self._handler.on_disconnected()
            log.warning("connection to the master lost; jobs keep running, reconnecting")
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _connect(self) -> None:
        # Read the path of the master's socket from the master's state file: the socket is outside
        # the state directory if that directory's path is too long for a Unix socket.
        info = read_master_info(self._state)
        path = Path(info.socket) if info else self._state.root / "master.sock"
        async with unix_connect(
            str(path),
            "ws://localhost/link",
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=m.MAX_FRAME_BYTES,
            open_timeout=_HANDSHAKE_S,
            close_timeout=1.0,
        ) as socket:
            async with asyncio.timeout(_HANDSHAKE_S):
                welcome = await self._handshake(socket)
            self.is_connected = True
            log.info("connected to the master as machine %d", welcome.machine_id)
            self._handler.on_connected(welcome.jobs)
            await self._serve(socket, welcome.heartbeat_s)

    async def _handshake(self, socket: ClientConnection) -> m.Welcome:
        challenge = codec.decode_handshake(await socket.recv())
        if not isinstance(challenge, m.Challenge):
            raise ProtocolError("unexpected handshake message from the master; challenge expected")
        trusted_key = keys.read_master_public_key(self._state)
        nonce = secrets.token_hex(32)
        hello, statement = build_hello(challenge, self._identity, nonce, trusted_key)
        await socket.send(codec.encode(hello), text=True)
        answer = codec.decode_handshake(await socket.recv())
        return verify_welcome(answer, challenge.master_key, statement)

    async def _serve(self, socket: ClientConnection, heartbeat_s: float) -> None:
        """Exchange frames and send heartbeats until the connection ends or sending fails."""
        senders = [
            asyncio.create_task(self._send_frames(socket)),
            asyncio.create_task(self._send_heartbeats(socket, heartbeat_s)),
        ]
        try:
            while True:
                frame = codec.decode_master_frame(await socket.recv(decode=False))
                self._handler.on_frame(frame, machine_now())
        except ConnectionClosed:
            pass
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
        for sender in senders:
            if not sender.cancelled() and (error := sender.exception()):
                if not isinstance(error, ConnectionClosed | OSError):
                    raise error

    async def _send_heartbeats(self, socket: ClientConnection, heartbeat_s: float) -> None:
        try:
            while self._handler.unanswered_heartbeats < _MAX_UNANSWERED:
                await asyncio.sleep(heartbeat_s)
                self._handler.on_heartbeat_due(machine_now())
            log.warning("the master did not answer %d heartbeats; reconnecting", _MAX_UNANSWERED)
        finally:
            socket.transport.abort()

    async def _send_frames(self, socket: ClientConnection) -> None:
        handler = self._handler
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if (frame := handler.next_frame(machine_now())) is not None:
                    await socket.send(codec.encode(frame), text=True)
                    self._wake.set()
                elif (chunk := handler.next_chunk()) is not None:
                    await socket.send(chunk)
                    self._wake.set()
                else:
                    self._set_alarm()
        finally:
            socket.transport.abort()

    def _set_alarm(self) -> None:
        """Set a timer that wakes the sender task when rate-limited progress may be sent."""
        due_ms = self._handler.next_frame_ms()
        if due_ms is None or self._alarm is not None:
            return
        delay_s = max(0.0, (due_ms - machine_now().steady_ms) / 1000)
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._wake.set()


def _retry_delays() -> Iterator[float]:
    yield from itertools.repeat(_FAST_RETRY_S, _FAST_RETRIES)
    wait_s = _FAST_RETRY_S
    while True:
        wait_s = min(wait_s * 1.5, _MAX_RETRY_S)
        yield wait_s * random.uniform(0.7, 1.0)


def _describe(error: Exception) -> str:
    if isinstance(error, ProtocolError):
        return error.sentence
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "no master runs in this state directory"
    return f"{type(error).__name__}: {error}"
