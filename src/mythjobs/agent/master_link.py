"""The connection to the master: found again whenever it is lost, and one frame a turn."""

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
from mythjobs.config.state import StateDir, read_master
from mythjobs.errors import ProtocolError
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m

_HANDSHAKE_S: Final = 10.0
_MOST_UNANSWERED: Final = 3
# At first often: `up` starts master and agent together. Then a master that is away for the
# night costs next to nothing.
_FIRST_TRIES: Final = 25
_FIRST_S: Final = 0.2
_LAST_S: Final = 5.0

log = logging.getLogger(__name__)


class Myself(NamedTuple):
    """Who this agent is. `incarnation` is another for each agent process."""

    key: Ed25519PrivateKey
    name: str
    boot_id: str
    incarnation: str
    zone: str = ""
    can: tuple[str, ...] = ()


def answer(
    challenge: m.Challenge, myself: Myself, nonce: str, trusted: str | None
) -> tuple[m.Hello, bytes]:
    """The hello for this challenge, and what the master's welcome must have signed.

    `trusted` is the only master key that is accepted. Raises ProtocolError.
    """
    if challenge.master_key != trusted:
        raise ProtocolError(
            "the master's key is not the one in master.pub of this state directory; whoever "
            "answers there is not this machine's master"
        )
    version = min(challenge.newest, m.VERSION)
    if version < max(challenge.oldest, m.OLDEST):
        raise ProtocolError(
            f"the master speaks versions {challenge.oldest} to {challenge.newest} of the link, "
            f"this agent {m.OLDEST} to {m.VERSION}; upgrade the older of the two"
        )
    ours = handshake.public_hex(myself.key)
    said = (challenge.nonce, nonce, challenge.master_key, ours)
    hello = m.Hello(
        version,
        ours,
        nonce,
        handshake.sign(myself.key, handshake.statement("machine", *said)),
        myself.name,
        myself.boot_id,
        myself.incarnation,
        cores=os.cpu_count() or 1,
        program=f"mythjobs {__version__}",
        zone=myself.zone,
        can=list(myself.can),
    )
    return hello, handshake.statement("master", *said)


def welcomed(
    message: m.Challenge | m.Hello | m.Welcome | m.Refused, trusted: str, said: bytes
) -> m.Welcome:
    """The welcome, if the holder of the trusted key gave it. Raises ProtocolError."""
    if isinstance(message, m.Refused):
        raise ProtocolError(f"the master refused this machine: {message.sentence}")
    if not isinstance(message, m.Welcome):
        raise ProtocolError("the master answers hello with welcome or refused")
    handshake.verify(trusted, message.signature, said)
    return message


class Desk(Protocol):
    """Who knows what to say, and what is said."""

    def connected(self, jobs: int) -> None: ...
    def disconnected(self) -> None: ...
    def hear(self, frame: m.MasterFrame, now: Now) -> None: ...
    def beat(self, now: Now) -> None: ...
    def frame(self, now: Now) -> m.AgentFrame | None: ...
    def chunk(self) -> bytes | None: ...
    def wake_ms(self) -> int | None: ...

    @property
    def unanswered(self) -> int: ...


class Link:
    def __init__(self, state: StateDir, myself: Myself, desk: Desk) -> None:
        self._state = state
        self._myself = myself
        self._desk = desk
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self.connected = False

    def wake(self) -> None:
        """There may be something to say."""
        self._wake.set()

    async def keep(self) -> None:
        """Serve one connection after another, for ever."""
        waits = _waits()
        told = ""
        while True:
            try:
                await self._connect()
                told = ""
                waits = _waits()
            except (OSError, TimeoutError, ProtocolError, WebSocketException) as error:
                if self.connected:
                    told = ""
                    waits = _waits()
                if (sentence := _why(error)) != told:
                    log.warning("no master: %s", told := sentence)
            finally:
                self._lost()
            await asyncio.sleep(next(waits))

    def _lost(self) -> None:
        if self.connected:
            self.connected = False
            self._desk.disconnected()
            log.warning("the master is gone; jobs go on, and it is looked for")
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _connect(self) -> None:
        # Every local master says where its socket is; the path may be too long for STATE.
        info = read_master(self._state)
        path = Path(info.socket) if info else self._state.root / "master.sock"
        async with unix_connect(
            str(path),
            "ws://localhost/link",
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=m.MOST_FRAME_BYTES,
            open_timeout=_HANDSHAKE_S,
            close_timeout=1.0,
        ) as socket:
            async with asyncio.timeout(_HANDSHAKE_S):
                welcome = await self._greet(socket)
            self.connected = True
            log.info("connected to the master as machine %d", welcome.machine_id)
            self._desk.connected(welcome.jobs)
            await self._serve(socket, welcome.heartbeat_s)

    async def _greet(self, socket: ClientConnection) -> m.Welcome:
        challenge = codec.handshake(await socket.recv())
        if not isinstance(challenge, m.Challenge):
            raise ProtocolError("the master speaks first, with a challenge")
        trusted = keys.master_public(self._state)
        nonce = secrets.token_hex(32)
        hello, said = answer(challenge, self._myself, nonce, trusted)
        await socket.send(codec.encode(hello), text=True)
        return welcomed(codec.handshake(await socket.recv()), challenge.master_key, said)

    async def _serve(self, socket: ClientConnection, heartbeat_s: float) -> None:
        """Until the connection ends; then both helpers end with it."""
        helpers = [
            asyncio.create_task(self._write(socket)),
            asyncio.create_task(self._beat(socket, heartbeat_s)),
        ]
        try:
            while True:
                frame = codec.master_frame(await socket.recv(decode=False))
                self._desk.hear(frame, machine_now())
        except ConnectionClosed:
            pass
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        for helper in helpers:
            if not helper.cancelled() and (error := helper.exception()):
                if not isinstance(error, ConnectionClosed | OSError):
                    raise error

    async def _beat(self, socket: ClientConnection, heartbeat_s: float) -> None:
        try:
            while self._desk.unanswered < _MOST_UNANSWERED:
                await asyncio.sleep(heartbeat_s)
                self._desk.beat(machine_now())
            log.warning("the master has not answered %d heartbeats", _MOST_UNANSWERED)
        finally:
            socket.transport.abort()

    async def _write(self, socket: ClientConnection) -> None:
        desk = self._desk
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                frame = desk.frame(machine_now())
                if frame is not None:
                    await socket.send(codec.encode(frame), text=True)
                elif (chunk := desk.chunk()) is not None:
                    await socket.send(chunk)
                    self._wake.set()
                    continue
                if frame is not None:
                    self._wake.set()
                else:
                    self._set_alarm()
        finally:
            socket.transport.abort()

    def _set_alarm(self) -> None:
        """Progress that is held back goes when it may, also if nothing else happens."""
        due_ms = self._desk.wake_ms()
        if due_ms is None or self._alarm is not None:
            return
        delay_s = max(0.0, (due_ms - machine_now().steady_ms) / 1000)
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake.set()


def _waits() -> Iterator[float]:
    yield from itertools.repeat(_FIRST_S, _FIRST_TRIES)
    wait_s = _FIRST_S
    while True:
        wait_s = min(wait_s * 1.5, _LAST_S)
        yield wait_s * random.uniform(0.7, 1.0)


def _why(error: Exception) -> str:
    if isinstance(error, ProtocolError):
        return error.sentence
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "none runs on this state directory"
    return f"{type(error).__name__}: {error}"
