"""WebSockets of strangers, and of machines that send too much: others do not notice them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import uvloop
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed

from mythjobs.agent.master_address import find_master
from mythjobs.config import tls_client
from mythjobs.master.link import connection, server
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.web.network import link_socket, listener
from mythjobs.web.network.link_socket import LinkSocket
from mythjobs.web.security import network_access
from mythjobs.web.security.strangers import MAX_STRANGERS
from tests.integration.master.link_fixtures import LinkMaster
from tests.integration.web.network_master import (
    invite,
    join,
    make_state,
    on_loopback,
    open_network,
)
from tests.integration.web.served_master import ServedMaster, run

__all__ = ["on_loopback"]  # a fixture
UPGRADE = (
    b"GET /link HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
PING = b"\x89\xfd\0\0\0\0" + b"p" * 125
EMPTY_FRAGMENT = b"\x00\x80\0\0\0\0"


def test_an_upgrade_that_is_refused_ends_the_connection(tmp_path: Path) -> None:
    """Seen: a WebSocket request with 200 header fields, or a POST, got no answer and no timeout,
    and was not counted as a connection."""

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(60), master.raw() as (reader, writer):
            writer.write(UPGRADE + b"X: y\r\n" * 200 + b"\r\n")
            assert b" 431 " in await reader.readline()
            await reader.read()
        async with asyncio.timeout(60), master.raw() as (reader, writer):
            writer.write(UPGRADE.replace(b"GET", b"POST") + b"Content-Length: 1\r\n\r\nx")
            await reader.read()

    run(tmp_path, story)


@pytest.mark.usefixtures("on_loopback")
@pytest.mark.parametrize("frame", [PING, EMPTY_FRAGMENT])
def test_a_stranger_that_sends_small_frames_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: bytes
) -> None:
    """Seen: one such connection stopped the master for 14 s, and all machines lost theirs."""
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT_S", 600.0)

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        async with asyncio.timeout(60), find_master(attic).connect(0) as channel:
            await channel.receive_message()
            channel.transport.write(b"\x01" + EMPTY_FRAGMENT[1:] + frame * (200_000 // len(frame)))
            with pytest.raises(ConnectionClosed):
                await channel.receive_message()

    run(tmp_path, story)


def test_pings_of_a_machine_that_does_not_read_are_not_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            [link] = master.links._connections.values()
            channel = link.channel
            assert isinstance(channel, LinkSocket)
            agent.socket.transport.pause_reading()
            for _ in range(50):
                agent.socket.transport.write(PING * 1000)
            await agent.send_messages(m.Heartbeat(1))
            assert (await master.port.next_frame()).no == 1
            assert channel.transport.get_write_buffer_size() < 1_000_000
            agent.socket.transport.resume_reading()

    uvloop.run(story())


def test_a_machine_that_reads_no_messages_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen: the master kept all answers to heartbeats of a machine that did not read."""
    monkeypatch.setattr(connection, "_MAX_WAITING", 10_000)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            [number] = master.links._connections
            agent.socket.transport.pause_reading()
            frame = m.MasterFrame(0, [m.Stale(job, 1) for job in range(5000)])
            for _ in range(10):
                master.links.send_frame(number, frame)
            async with asyncio.timeout(60):
                await master.port.wait_detached()
            agent.socket.transport.abort()

    uvloop.run(story())
    assert "agent attic (connection 1) does not read; connection closed" in caplog.text


def test_a_machine_that_sends_much_leaves_turns_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop reads up to 8 MB before anything else is done, which took seconds."""
    sizes: list[int] = []  # received in one iteration of the event loop
    receive = LinkSocket.data_received

    def count(self: LinkSocket, data: bytes) -> None:
        sizes[-1] += len(data)
        receive(self, data)

    def begin_iteration() -> None:
        sizes.append(0)
        asyncio.get_running_loop().call_soon(begin_iteration)

    async def story() -> None:
        begin_iteration()
        monkeypatch.setattr(LinkSocket, "data_received", count)
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            sock = agent.socket.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
            sizes.append(0)
            # Written before the event loop can read.
            written = os.write(sock.fileno(), PING * 3000)
            assert written == len(PING) * 3000
            await agent.send_messages(m.Heartbeat(1))
            assert (await master.port.next_frame()).no == 1
        assert written < sum(sizes)
        assert max(sizes) <= 256 * 1024

    uvloop.run(story())


def test_small_frames_are_handled_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: 64 KiB of heartbeats, handled in one piece, took 60 ms of the event loop."""
    monkeypatch.setattr(link_socket, "_MAX_RUN_S", 1e-9)  # one slice in each iteration
    handled: list[int] = []
    parse = WebSocketsSansIOProtocol.data_received

    def count(self: WebSocketsSansIOProtocol, data: bytes) -> None:
        handled[-1] += len(data)
        parse(self, data)

    def begin_iteration() -> None:
        handled.append(0)
        asyncio.get_running_loop().call_soon(begin_iteration)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            begin_iteration()
            monkeypatch.setattr(WebSocketsSansIOProtocol, "data_received", count)
            sock = agent.socket.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
            written = os.write(sock.fileno(), PING * 1500)
            await agent.send_messages(m.Heartbeat(1))
            assert (await master.port.next_frame()).no == 1
        assert written < sum(handled)
        # Timers and reads of one iteration may be on both sides of the counter's own callback.
        assert max(handled) <= 2 * 4096

    uvloop.run(story())


@pytest.mark.parametrize(
    "numbers, sentence",
    [
        (range(1, 18), "16 frames are not acknowledged yet, and it sent more"),
        ((1, 3), "frame 3 follows frame 1"),
        ((1, 1), "frame 1 follows frame 1"),
        ((2**63 - 1,), "frame 9223372036854775807 follows frame 0"),
    ],
)
def test_a_machine_that_does_not_wait_for_acknowledgements_is_disconnected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, numbers: Sequence[int], sentence: str
) -> None:
    """Seen: such frames filled the queue of the turns, and submits waited for all of them."""

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            for no in numbers:
                await agent.socket.send(codec.encode(m.AgentFrame(no, 0, 1, [])), text=True)
            async with asyncio.timeout(60):
                await master.port.wait_detached()

    uvloop.run(story())
    assert f"violated the protocol, connection closed: {sentence}" in caplog.text


@pytest.mark.usefixtures("on_loopback")
def test_a_stranger_keeps_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: a stranger that read no responses, or sent a request now and then, kept its place."""
    monkeypatch.setattr(network_access, "STRANGER_S", 0.05)

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        context = tls_client.make_unverified_context()
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port, ssl=context)
            with suppress(OSError):
                while not reader.at_eof():
                    writer.write(b"GET /api/v1/join/authority HTTP/1.1\r\n\r\n")
                    await writer.drain()
                    await reader.read(10_000)
            writer.close()

    run(tmp_path, story)


@pytest.mark.usefixtures("on_loopback")
def test_a_refused_stranger_cannot_go_on_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: after the response, 11 GB were received in 12 s."""
    monkeypatch.setattr(listener, "TLS_CLOSE_TIMEOUT_S", 0.05)

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        context = tls_client.make_unverified_context()
        near = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", master.port))
        near.settimeout(60)
        with await asyncio.to_thread(context.wrap_socket, near) as stranger:

            def send() -> None:
                end_s = time.monotonic() + 60
                while time.monotonic() < end_s:
                    stranger.sendall(b"x" * 10_000)

            with pytest.raises(OSError, match=r"(?i)eof|reset|broken pipe"):
                await asyncio.to_thread(send)

    run(tmp_path, story)


def test_requests_that_are_refused_do_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(master: ServedMaster) -> None:
        for start in (
            b"GET /api/v1/status HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
            UPGRADE,  # without token
            UPGRADE.replace(b"/link", b"/nothing"),
        ):
            async with master.raw() as (reader, writer):
                writer.write(start + b"\r\n" + b"x" * 1000)
                assert b"HTTP/1.1 4" in await reader.readline()
                with suppress(ConnectionError):  # what was sent after the request is not read
                    await reader.read()

    run(tmp_path, story)
    # mythjobs sets the level of uvicorn's loggers to this; another test may have set another.
    logged = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each for each in logged if each.name.startswith("uvicorn")] == []


@pytest.mark.parametrize("opcode", [b"\x81", b"\x82"], ids=["text", "binary"])
def test_a_hello_that_is_not_utf_8_is_no_internal_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, opcode: bytes
) -> None:
    """Seen: a traceback in the log for each hello with invalid UTF-8 in a binary frame."""
    hello = opcode + b'\x8c\0\0\0\0{"type":"\xff"}'

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_unix_connection(str(master.path))
            writer.write(UPGRADE + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(hello)
            await reader.read()
            writer.close()

    run(tmp_path, story)
    assert [each for each in caplog.records if each.exc_info] == []


@pytest.mark.usefixtures("on_loopback")
@pytest.mark.parametrize("start", [b"", b"\x16"], ids=["nothing", "tls"])
def test_programs_on_this_machine_cannot_take_all_descriptors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, start: bytes
) -> None:
    """Seen: with `mythjobs lan on`, any user of the master's machine could open connections until
    no descriptor was left, as only those of other machines were limited."""

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            for _ in range(MAX_STRANGERS):
                _, writer = await stack.enter_async_context(master.raw())
                writer.write(start)
            async with master.raw() as (reader, _):
                assert await reader.read() == b""
        async with asyncio.timeout(60):
            while True:
                # Until the master has seen that the others are closed.
                with suppress(ConnectionError):
                    assert (await master.request_tcp("GET", "/api/v1/status")).status == 200
                    return

    run(tmp_path, story)
    assert "too many connections have not identified themselves" in caplog.text
