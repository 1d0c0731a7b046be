"""A link server on a real socket, and fake agents that connect to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, unix_connect

from mythjobs.errors import NotAllowed
from mythjobs.master.link.server import LinkServer
from mythjobs.master.output.reader import AttemptOutput, OutputReader
from mythjobs.master.requests import Attach, Attached, Detached, FrameReceived, Message, Request
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import Headroom
from mythjobs.web.network.listener import Listener
from mythjobs.web.network.sockets import bind_path
from mythjobs.web.security.access import AccessControl
from mythjobs.web.security.http_limits import LocalConnection
from mythjobs.web.server.app import serve_agent_link

ATTIC = 1


@dataclass
class FakeMasterPort:
    """Records requests and messages, and accepts every machine unless `refuse` is set.

    acknowledging: acknowledge frames through this server, as the turns do.
    """

    refuse: str = ""
    acknowledging: LinkServer | None = None
    machine_id: int = ATTIC  # of the next machine that connects
    attached: list[Attach] = field(default_factory=list)
    posted: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    async def execute(self, request: Request) -> object:
        assert isinstance(request, Attach)
        self.attached.append(request)
        if self.refuse:
            raise NotAllowed(self.refuse)
        return Attached(machine_id=self.machine_id, jobs=4, name="attic")

    def post(self, message: Message) -> None:
        self.posted.put_nowait(message)
        if self.acknowledging is not None and isinstance(message, FrameReceived):
            frame = m.MasterFrame(message.frame.no, [])
            self.acknowledging.send_frame(message.connection, frame)

    async def next_frame(self) -> m.AgentFrame:
        message = await self.posted.get()
        assert isinstance(message, FrameReceived), message
        return message.frame

    async def wait_detached(self) -> None:
        while not isinstance(await self.posted.get(), Detached):
            pass


@dataclass
class FakeAttemptStore:
    """Attempts by (job, n)."""

    attempts: dict[tuple[int, int], AttemptOutput] = field(default_factory=dict)

    def add_attempt(self, job: int, *streams: tuple[int, int, int], is_ended: bool = True) -> None:
        self.attempts[job, 1] = AttemptOutput(1, ATTIC, "attic", is_ended, streams)

    async def find_attempt_output(self, job: int, n: int | None) -> AttemptOutput:
        return self.attempts[job, n or 1]

    async def find_machines(self, of: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
        return {each: self.attempts[each].machine_id for each in of if each in self.attempts}


class LinkMaster:
    def __init__(self, root: Path) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.port = FakeMasterPort()
        self.store = FakeAttemptStore()
        self.outputs = OutputReader(root / "output", self.store)
        self.links = LinkServer(self.key, self.port, self.outputs)
        self.path = root / "sock"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[LinkMaster]:
        async def app(scope, receive, send):  # type: ignore[no-untyped-def]
            await serve_agent_link(self.links, scope, receive, send)

        listener = Listener(AccessControl(app, None), LocalConnection, browser_headers=False)
        await listener.open(bind_path(self.path))
        collecting = asyncio.create_task(self.outputs.run())
        try:
            yield self
        finally:
            await listener.close(2.0)
            collecting.cancel()
            await asyncio.wait([collecting])

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ClientConnection]:
        """A WebSocket before the handshake."""
        async with unix_connect(
            str(self.path), "ws://localhost/link", compression=None, ping_interval=None
        ) as socket:
            yield socket

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[FakeAgent]:
        """An agent after the handshake."""
        async with self.connected() as socket:
            agent = FakeAgent(socket)
            welcome = await agent.send_hello()
            assert isinstance(welcome, m.Welcome), welcome
            yield agent


class FakeAgent:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.key = Ed25519PrivateKey.generate()
        self.no = 0
        self.acked = 0

    async def send_hello(
        self, *, is_signed: object = False, **changed: object
    ) -> codec.HandshakeMessage:
        """Answer the challenge with a hello with changed fields; return the master's answer.

        is_signed: the signature covers the changed fields.
        """
        challenge = codec.decode_handshake(await self.socket.recv())
        assert isinstance(challenge, m.Challenge)
        mine = handshake.encode_public_key(self.key)
        fields: dict[str, object] = {
            "version": m.VERSION,
            "machine_key": mine,
            "nonce": "ab" * 32,
            "signature": "",
            "name": "attic",
            "boot_id": "b",
            "incarnation": "i",
            "cores": 2,
        }
        fields |= changed if is_signed else {}
        honest = m.Hello(**fields)  # type: ignore[arg-type]
        signed = handshake.build_transcript("machine", challenge, honest, "")
        fields["signature"] = handshake.sign(self.key, signed)
        self.transcript = handshake.build_transcript("master", challenge, honest, "")
        hello = m.Hello(**(fields | changed))  # type: ignore[arg-type]
        await self.socket.send(codec.encode(hello).decode())
        return codec.decode_handshake(await self.socket.recv())

    async def send_messages(
        self, *messages: m.AgentMessage, headroom: Headroom | None = None
    ) -> None:
        self.no += 1
        frame = m.AgentFrame(self.no, 0, 4, list(messages), headroom=headroom)
        await self.socket.send(codec.encode(frame).decode())

    async def send_chunk(self, transfer: int, offset: int, data: bytes) -> None:
        await self.socket.send(codec.encode_chunk(codec.OutputChunk(transfer, offset, data)))

    async def receive_messages(self) -> list[m.MasterMessage]:
        """Return the next messages, skipping frames that only acknowledge."""
        while True:
            frame = codec.decode_master_frame(await self.socket.recv())
            self.acked = max(self.acked, frame.ack)
            if frame.messages:
                return frame.messages

    async def receive_fetch(self) -> m.OutputFetch:
        [fetch] = await self.receive_messages()
        assert isinstance(fetch, m.OutputFetch), fetch
        return fetch

    async def send_stream(self, fetch: m.OutputFetch, data: bytes) -> None:
        """Send a stream (or its kept bytes) from the requested offset on, within the credit."""
        credit, at = codec.TRANSFER_WINDOW_BYTES, fetch.offset
        while at < len(data):
            size = min(codec.MAX_CHUNK_BYTES, credit, len(data) - at)
            if size == 0:
                for message in await self.receive_messages():
                    assert isinstance(message, m.OutputCredit), message
                    credit += message.bytes
                continue
            await self.send_chunk(fetch.transfer, at, data[at : at + size])
            at, credit = at + size, credit - size
        await self.send_messages(m.OutputEnd(fetch.transfer))
