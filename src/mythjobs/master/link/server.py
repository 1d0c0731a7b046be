"""Link server: handshake, sending and receiving on the agents' WebSocket connections."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs.errors import BadRequest, MythJobsError, ProtocolError
from mythjobs.master.link.connection import AgentConnection, Channel
from mythjobs.master.link.rate_limit import ConnectionRateLimit
from mythjobs.master.output.reader import OutputReader
from mythjobs.master.requests import Attach, Attached, Detached, FrameReceived, Message, Request
from mythjobs.model.names import check_machine_name
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import MASTER_CAPABILITIES

HANDSHAKE_TIMEOUT_S: Final = 10.0
SILENCE_TIMEOUT_S: Final = 3 * m.HEARTBEAT_S
# Maximum size of an agent's hello, which has about 500 bytes. The limit is low because the agent
# is not authenticated yet.
_MAX_HELLO_BYTES: Final = 16 * 1024
_MAX_BOOT_ID: Final = 100

log = logging.getLogger(__name__)


class MasterPort(Protocol):
    """Interface of the master that queues requests and messages for the next turn."""

    async def execute(self, request: Request) -> object: ...
    def post(self, message: Message) -> None: ...


class Peer(NamedTuple):
    """Where a connection comes from.

    is_local: through the Unix socket in the master's state directory, from its owner or root.
    fingerprint: of the TLS certificate that the connection was given, "" without TLS.
    on_identified: called once the machine is known. on_refused: called with the cause if the
    machine is refused; None: each refusal is logged, as only this machine's owner can cause one.
    """

    is_local: bool
    fingerprint: str = ""
    on_identified: Callable[[], None] = lambda: None
    on_refused: Callable[[str], None] | None = None


class LinkServer:
    """Holds the agents' connections and passes their frames to the master."""

    def __init__(self, key: Ed25519PrivateKey, master: MasterPort, outputs: OutputReader) -> None:
        self._key = key
        self._public_key = handshake.encode_public_key(key)
        self._master = master
        self._outputs = outputs
        self._connections: dict[int, AgentConnection] = {}
        self._connection_ids = itertools.count(1)
        self._rate_limit = ConnectionRateLimit()

    def send_frame(self, connection_id: int, frame: m.MasterFrame) -> None:
        """Send a committed turn's frame to an agent; drop it if the connection is closed."""
        if agent := self._connections.get(connection_id):
            agent.send_frame(frame)

    def close_connection(self, connection_id: int) -> None:
        if agent := self._connections.get(connection_id):
            agent.request_close()

    async def serve(self, channel: Channel, peer: Peer) -> None:
        """Serve one agent's connection from handshake to close.

        The key of a local agent is enrolled if it is unknown.
        """
        agent = AgentConnection(next(self._connection_ids), channel)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S) as deadline:
                await self._run_session(agent, peer, deadline)
        except TimeoutError:
            _report(agent, peer, "sent nothing within the timeout; connection closed")
        except ProtocolError as error:
            _report(agent, peer, f"violated the protocol, connection closed: {error.sentence}")
        except OSError:
            pass  # the agent disconnected
        finally:
            await agent.aclose()

    async def _run_session(
        self, agent: AgentConnection, peer: Peer, deadline: asyncio.Timeout
    ) -> None:
        oldest = m.OLDEST_VERSION if peer.is_local else handshake.OLDEST_NETWORK_VERSION
        challenge = m.Challenge(secrets.token_hex(32), oldest, m.VERSION, self._public_key)
        await agent.send_handshake(challenge)
        try:
            hello = _check_hello(await agent.channel.receive_message(), challenge, peer.fingerprint)
        except ProtocolError as error:
            await agent.send_handshake(m.Refused(error.code, error.sentence))
            raise
        if hello is None or not await self._is_within_rate(agent, hello):
            return
        self._connections[agent.connection_id] = agent
        agent.name = hello.name
        try:
            attached = await self._attach(agent, hello, peer)
            if attached is not None:
                agent.name = attached.name
                await agent.send_handshake(self._make_welcome(challenge, hello, peer, attached))
                peer.on_identified()
                self._close_superseded(attached.machine_id)
                agent.start_sending(attached.machine_id)
                log.info("machine %s connected", agent.name, extra=agent.fields)
                self._outputs.add_agent(agent)
                deadline.reschedule(None)
                await self._receive_messages(agent)
        finally:
            del self._connections[agent.connection_id]
            if agent.machine_id:
                log.info("machine %s disconnected", agent.name, extra=agent.fields)
            agent.request_close()
            self._master.post(Detached(agent.connection_id, agent.channel.is_closed_by_agent))
            self._outputs.remove_agent(agent)

    async def _is_within_rate(self, agent: AgentConnection, hello: m.Hello) -> bool:
        """Wait if the machine connects too often. Return False if it is refused therefore."""
        wait_s = self._rate_limit.take(hello.machine_key, asyncio.get_running_loop().time())
        if wait_s is None:
            sentence = "this machine connects too often; look for the reason in the logs of both"
            await agent.send_handshake(m.Refused("too_often", sentence))
            return False
        if wait_s:
            await asyncio.sleep(wait_s)
        return True

    def _close_superseded(self, machine_id: int) -> None:
        """Close earlier connections of a machine that has connected again: they are half open."""
        for other in self._connections.values():
            if other.machine_id == machine_id:
                other.request_close()

    async def _attach(self, agent: AgentConnection, hello: m.Hello, peer: Peer) -> Attached | None:
        try:
            attached = await self._master.execute(Attach(hello, peer.is_local, agent.connection_id))
        except MythJobsError as error:
            _report(agent, peer, f"was rejected: {error.sentence}")
            await agent.send_handshake(m.Refused(error.code, error.sentence))
            return None
        assert isinstance(attached, Attached)
        return attached

    def _make_welcome(
        self, challenge: m.Challenge, hello: m.Hello, peer: Peer, attached: Attached
    ) -> m.Welcome:
        transcript = handshake.build_transcript("master", challenge, hello, peer.fingerprint)
        signature = handshake.sign(self._key, transcript)
        return m.Welcome(
            hello.version,
            signature,
            attached.machine_id,
            attached.jobs,
            footprints=attached.footprints,
            control=attached.control,
            can=sorted(MASTER_CAPABILITIES),
        )

    async def _receive_messages(self, agent: AgentConnection) -> None:
        def on_message(data: bytes, is_text: bool) -> None:
            if is_text:
                frame = codec.decode_agent_frame(data)
                agent.count_frame(frame.no)
                frame = self._take_output_messages(agent, frame)
                # A frame without messages is posted too, because it must be acknowledged.
                self._master.post(FrameReceived(agent.connection_id, frame))
            else:
                self._outputs.receive_chunk(agent, codec.decode_chunk(data))

        await agent.pass_messages(on_message, SILENCE_TIMEOUT_S)

    def _take_output_messages(self, agent: AgentConnection, frame: m.AgentFrame) -> m.AgentFrame:
        """Handle a frame's messages about job output; return the frame without these messages."""
        rest: list[m.AgentMessage] = []
        for message in frame.messages:
            if isinstance(message, m.OutputOffer):
                self._outputs.receive_offer(agent, message)
            elif isinstance(message, m.OutputEnd):
                self._outputs.receive_end(agent, message)
            else:
                rest.append(message)
        if len(rest) == len(frame.messages):
            return frame
        return msgspec.structs.replace(frame, messages=rest)


def _report(agent: AgentConnection, peer: Peer, text: str) -> None:
    """Log what went wrong with a connection."""
    if agent.machine_id or peer.on_refused is None:
        log.warning("%s %s", agent, text, extra=agent.fields)
    else:
        # A stranger must not fill the log.
        peer.on_refused(f"agent {agent.name or 'of unknown name'} {text}")


def _check_hello(data: bytes | None, challenge: m.Challenge, fingerprint: str) -> m.Hello | None:
    """Decode an agent's hello and verify its signature; None if the agent disconnected.

    Raises ProtocolError if `data` is not a valid hello.
    """
    if data is None:
        return None
    if len(data) > _MAX_HELLO_BYTES:
        raise ProtocolError(f"hello has {len(data)} bytes, the limit is {_MAX_HELLO_BYTES}")
    hello = codec.decode_handshake(data)
    if not isinstance(hello, m.Hello):
        raise ProtocolError("the first message is not a hello")
    if not challenge.oldest <= hello.version <= challenge.newest:
        raise ProtocolError(
            f"this master supports versions {challenge.oldest} to {challenge.newest} of the link "
            f"protocol here, the agent uses version {hello.version}; upgrade the older of the two"
        )
    if None in (handshake.decode_hex(each, 32) for each in (hello.machine_key, hello.nonce)):
        raise ProtocolError("machine key and nonce must be 32 bytes each, in lower-case hex")
    if "\0" in hello.boot_id + hello.zone or len(hello.boot_id) > _MAX_BOOT_ID:
        raise ProtocolError("boot id and time zone must be short texts without NUL")
    try:
        check_machine_name(hello.name)
    except BadRequest as error:
        raise ProtocolError(error.sentence) from None
    transcript = handshake.build_transcript("machine", challenge, hello, fingerprint)
    handshake.verify(hello.machine_key, hello.signature, transcript)
    return hello
