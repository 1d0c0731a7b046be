"""What an agent sends is handled in slices: completely, in order, and to the end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from mythjobs.clock import master_now
from mythjobs.config import certificates, tls_client
from mythjobs.config.state import StateDir
from mythjobs.master.link import server
from mythjobs.master.requests import Detached, FrameReceived
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.web.network import link_socket
from mythjobs.web.network.link_socket import TimeShare
from mythjobs.web.network.listener import Listener
from mythjobs.web.security.access import AccessControl
from mythjobs.web.security.http_limits import LocalConnection
from mythjobs.web.server.app import serve_agent_link
from tests.integration.master.link_fixtures import FakeAgent, LinkMaster


def serialize(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


def text(no: int, messages: int) -> bytes:
    frame = m.AgentFrame(no, 0, 1, [m.Started(job, 1, 5) for job in range(messages)])
    return serialize(Opcode.TEXT, codec.encode(frame))


PINGS = serialize(Opcode.PING, b"p" * 100) * 500
CLOSE = serialize(Opcode.CLOSE, struct.pack("!H", 1001))


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_socket, "_MAX_RUN_S", 1e-9)  # one slice in each iteration


@pytest.fixture
def tls_context(tmp_path: Path) -> ssl.SSLContext:
    state = StateDir(tmp_path / "state")
    state.root.mkdir()
    return certificates.load_server_identity(state, master_now().wall_ms).context


@asynccontextmanager
async def agent_over(
    master: LinkMaster, context: ssl.SSLContext | None
) -> AsyncIterator[FakeAgent]:
    """An agent on the Unix socket, or over TLS if a context of the master is given."""
    if context is None:
        async with master.agent() as agent:
            yield agent
        return

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await serve_agent_link(master.links, scope, receive, send)

    listener = Listener(AccessControl(app, None), LocalConnection, browser_headers=False)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    serving = asyncio.create_task(listener.serve(listener.make_protocol(), near, context, 60.0))
    async with connect(
        "wss://localhost/link", sock=far, ssl=tls_client.make_unverified_context(),
        compression=None, ping_interval=None,
    ) as websocket:  # fmt: skip
        await serving
        agent = FakeAgent(websocket)
        assert isinstance(await agent.send_hello(), m.Welcome)
        yield agent


async def receive_all(master: LinkMaster) -> list[tuple[int, int] | Detached]:
    """Return (number, messages) of each frame, and the end of the connection."""
    received: list[tuple[int, int] | Detached] = []
    async with asyncio.timeout(60):
        while True:
            each = await master.port.posted.get()
            if isinstance(each, FrameReceived):
                received.append((each.frame.no, len(each.frame.messages)))
            else:
                assert isinstance(each, Detached)
                return [*received, each]


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("is_reading", [True, False])
def test_what_an_agent_sent_before_its_end_is_handled(
    tmp_path: Path, tls_context: ssl.SSLContext, over_tls: bool, is_reading: bool
) -> None:
    """Seen: an agent that left with much to send was shown as lost, as the close frame waited in a
    slice when the connection ended."""

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            async with agent_over(master, tls_context if over_tls else None) as agent:
                transport = agent.socket.transport
                if not is_reading:
                    transport.pause_reading()
                transport.write(text(1, 9) + PINGS + text(2, 3) + CLOSE)
                await asyncio.sleep(0)
                transport.abort()
            assert await receive_all(master) == [(1, 9), (2, 3), Detached(1, by_agent=True)]

    uvloop.run(story())


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("over_tls", [False, True])
def test_pieces_of_any_size_are_handled_in_order(
    tmp_path: Path, tls_context: ssl.SSLContext, over_tls: bool
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            async with agent_over(master, tls_context if over_tls else None) as agent:
                data = text(1, 3000) + PINGS[:1060] + text(2, 0) + text(3, 500) + CLOSE
                at, size = 0, 1
                while at < len(data):
                    agent.socket.transport.write(data[at : at + size])
                    at, size = at + size, size * 3 % 20_011
                    await asyncio.sleep(0)
                received = await receive_all(master)
            assert received == [(1, 3000), (2, 0), (3, 500), Detached(1, by_agent=True)]

    uvloop.run(story())


@pytest.mark.usefixtures("small_slices")
def test_an_internal_error_in_a_slice_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen: nothing more was read from the agent."""
    monkeypatch.setattr(server, "SILENCE_TIMEOUT_S", 600.0)

    def fail(self: WebSocketsSansIOProtocol) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            monkeypatch.setattr(WebSocketsSansIOProtocol, "handle_ping", fail)
            agent.socket.transport.write(text(1, 1) + PINGS)
            assert await receive_all(master) == [(1, 1), Detached(1, by_agent=False)]

    uvloop.run(story())
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("small_slices")
def test_nothing_is_handled_or_kept_after_a_violation_of_the_protocol(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            agent.socket.transport.write(text(1, 1) + text(5, 1) + (PINGS + text(2, 1)) * 5)
            assert await receive_all(master) == [(1, 1), Detached(1, by_agent=False)]

    uvloop.run(story())
    problems = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert problems == [
        "agent attic (connection 1) violated the protocol, connection closed: "
        "frame 5 follows frame 1"
    ]


def test_output_is_not_delayed_and_a_flood_gets_a_share() -> None:
    """Seen: kept output of joined machines was fetched a third slower, as the connection paused
    after each read."""
    share, now_s = TimeShare(), 100.0
    for _ in range(100):  # 256 KiB of output each: 0.3 ms, then 1.5 ms of waiting for the next
        assert share.take(now_s, now_s + 0.0003) <= 0
        now_s += 0.0018
    pauses_s = []
    for _ in range(100):
        pauses_s.append(max(share.take(now_s, now_s + 0.002), 0.0))
        now_s += 0.002 + pauses_s[-1]
    assert pauses_s[5:] == pytest.approx([0.006] * 95)
