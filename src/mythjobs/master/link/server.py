"""The agents' connections: who is there, what they say, and what goes to them after a commit."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs.errors import MythJobsError, ProtocolError
from mythjobs.master.link.connection import Channel, Link
from mythjobs.master.output.reader import Outputs
from mythjobs.master.requests import AgentSaid, Attach, Attached, Detached, Message, Request
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m

HANDSHAKE_S: Final = 10.0
SILENCE_S: Final = 3 * m.HEARTBEAT_S
# A hello has some 500 bytes; more is not read from someone who is not known yet.
_MOST_HELLO_BYTES: Final = 16 * 1024
_MOST_NAME: Final = 253

log = logging.getLogger(__name__)


class Desk(Protocol):
    """Where the agents' words go: into the next turn."""

    async def ask(self, request: Request) -> object: ...
    def post(self, message: Message) -> None: ...


class Links:
    def __init__(self, key: Ed25519PrivateKey, desk: Desk, outputs: Outputs) -> None:
        self._key = key
        self._public = handshake.public_hex(key)
        self._desk = desk
        self._outputs = outputs
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count(1)

    def deliver(self, connection: int, frame: m.MasterFrame) -> None:
        """What a turn has to say to an agent, once it is committed. A closed one is let go."""
        if link := self._links.get(connection):
            link.deliver(frame)

    def close(self, connection: int) -> None:
        if link := self._links.get(connection):
            link.close()

    async def serve(self, channel: Channel, trusted: bool) -> None:
        """One agent's connection, from its first word to its last.

        `trusted`: it came through the socket of the state directory, so that a key which is
        not known is enrolled.
        """
        link = Link(next(self._numbers), channel)
        try:
            async with asyncio.timeout(HANDSHAKE_S) as patience:
                await self._serve(link, trusted, patience)
        except TimeoutError:
            log.warning("%s said nothing for too long; closed", link)
        except ProtocolError as error:
            log.warning("%s broke the protocol, closed: %s", link, error.sentence)
        except OSError:
            pass  # the other side is gone
        finally:
            await link.ended()

    async def _serve(self, link: Link, trusted: bool, patience: asyncio.Timeout) -> None:
        nonce = secrets.token_hex(32)
        await link.say(m.Challenge(nonce, m.OLDEST, m.VERSION, self._public))
        try:
            hello = _hello(await link.channel.receive(), nonce, self._public)
        except ProtocolError as error:
            await link.say(m.Refused(error.code, error.sentence))
            raise
        if hello is None:
            return
        self._links[link.connection] = link
        link.name = hello.name
        try:
            attached = await self._attach(link, hello, trusted)
            if attached is not None:
                await link.say(self._welcome(hello, nonce, attached))
                self._supersede(attached.machine_id)
                link.start(attached.machine_id)
                self._outputs.attached(link)
                await self._listen(link, patience)
        finally:
            del self._links[link.connection]
            link.close()
            self._desk.post(Detached(link.connection))
            self._outputs.detached(link)

    def _supersede(self, machine_id: int) -> None:
        """Close what is left of an earlier connection of this machine: half open, surely."""
        for other in self._links.values():
            if other.machine_id == machine_id:
                other.close()

    async def _attach(self, link: Link, hello: m.Hello, trusted: bool) -> Attached | None:
        try:
            attached = await self._desk.ask(Attach(hello, trusted, link.connection))
        except MythJobsError as error:
            log.warning("%s is refused: %s", link, error.sentence)
            await link.say(m.Refused(error.code, error.sentence))
            return None
        assert isinstance(attached, Attached)
        return attached

    def _welcome(self, hello: m.Hello, nonce: str, attached: Attached) -> m.Welcome:
        said = handshake.statement("master", nonce, hello.nonce, self._public, hello.machine_key)
        signature = handshake.sign(self._key, said)
        return m.Welcome(hello.version, signature, attached.machine_id, attached.jobs)

    async def _listen(self, link: Link, patience: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time
        receive = link.channel.receive
        while True:
            patience.reschedule(now() + SILENCE_S)
            data = await receive()
            if data is None:
                return
            if isinstance(data, bytes):
                self._outputs.take(link, codec.decode_chunk(data))
            else:
                frame = self._without_output(link, codec.agent_frame(data))
                # Posted also when nothing is left in it: it wants to be acknowledged.
                self._desk.post(AgentSaid(link.connection, frame))

    def _without_output(self, link: Link, frame: m.AgentFrame) -> m.AgentFrame:
        rest: list[m.AgentMessage] = []
        for message in frame.messages:
            if isinstance(message, m.OutputOffer):
                self._outputs.offered(link, message)
            elif isinstance(message, m.OutputEnd):
                self._outputs.end(link, message)
            else:
                rest.append(message)
        if len(rest) == len(frame.messages):
            return frame
        return m.AgentFrame(frame.no, frame.seen, frame.room, rest, frame.draining)


def _hello(data: bytes | str | None, nonce: str, master_key: str) -> m.Hello | None:
    """The agent's hello, signed by the key it names; None if it went away instead."""
    if data is None:
        return None
    if len(data) > _MOST_HELLO_BYTES:
        raise ProtocolError(f"a hello of {len(data)} bytes")
    hello = codec.handshake(data)
    if not isinstance(hello, m.Hello):
        raise ProtocolError("the first message of an agent is hello")
    if not m.OLDEST <= hello.version <= m.VERSION:
        raise ProtocolError(
            f"this master speaks versions {m.OLDEST} to {m.VERSION} of the link, the agent "
            f"version {hello.version}; upgrade the older of the two"
        )
    # A machine is its key: one key must not be two machines by being written in two ways.
    if not (_is_hex32(hello.machine_key) and _is_hex32(hello.nonce)):
        raise ProtocolError("key and nonce are 32 bytes each, in lower-case hex")
    if not (0 < len(hello.name) <= _MOST_NAME and hello.name.isprintable()):
        raise ProtocolError("the machine's name is empty, too long or not printable")
    said = handshake.statement("machine", nonce, hello.nonce, master_key, hello.machine_key)
    handshake.verify(hello.machine_key, hello.signature, said)
    return hello


def _is_hex32(text: str) -> bool:
    try:
        return len(text) == 64 and bytes.fromhex(text).hex() == text
    except ValueError:
        return False
