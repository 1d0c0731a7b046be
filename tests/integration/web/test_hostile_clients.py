"""Clients of the API that break HTTP, or keep connections: they cost neither memory nor time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from mythjobs.web.network.listener import Listener
from mythjobs.web.network.sockets import bind_path
from mythjobs.web.security import http_limits
from mythjobs.web.security.http_limits import LocalConnection
from mythjobs.web.server.errors import Receive, Scope, Send
from tests.integration.web.served_master import TOKEN, ServedMaster, run

HEADERS = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
STATUS = f"GET /api/v1/status HTTP/1.1\r\n{HEADERS}\r\n".encode()
CHUNKED = f"POST /api/v1/jobs/hold HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode()
HOLD = b'{"ids": [1]}'


@pytest.mark.parametrize("endless", [b"X: y\r\n", b"x"])
def test_a_trailer_without_end_is_rejected(tmp_path: Path, endless: bytes) -> None:
    """Seen: all header fields after a chunked body were kept, 3 GB in 12 s."""

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(CHUNKED + b"1\r\n{\r\n")
            await writer.drain()
            writer.write(b"0\r\n" + endless * (400_000 // len(endless)))
            assert b" 431 " in await reader.readline()

    run(tmp_path, story)


def test_a_trailer_does_not_change_the_head(tmp_path: Path) -> None:
    """Seen: fields of the trailer were added to the checked ones of the head."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        seen.append(scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def story() -> None:
        listener = Listener(app, LocalConnection, browser_headers=False)
        await listener.open(bind_path(tmp_path / "sock"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "sock"))
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"0\r\nAuthorization: Bearer x\r\n\r\n")
        assert b" 204 " in await reader.readline()
        writer.close()
        await listener.close(1.0)

    uvloop.run(story())
    assert seen == [[(b"transfer-encoding", b"chunked")]]


def test_many_small_chunks_are_accepted(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        async with master.raw() as (reader, writer):
            body = HOLD + b" " * 60_000
            writer.write(CHUNKED)
            for start in range(0, len(body), 100):
                part = body[start : start + 100]
                writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in part))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            assert b" 200 " in await reader.readline()

    run(tmp_path, story)


def test_blank_lines_do_not_keep_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: a blank line after a response kept the connection for ever, as it is no request."""
    monkeypatch.setattr(http_limits, "CHECK_INTERVAL_S", 0.05)

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(STATUS)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"\r\n")
            assert await reader.read() == b""

    run(tmp_path, story)


def test_too_many_requests_sent_ahead_close_the_connection(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(STATUS * http_limits.MAX_SENT_AHEAD)
            for _ in range(http_limits.MAX_SENT_AHEAD):
                await reader.readuntil(b"HTTP/1.1 200 ")
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
            try:
                assert (await reader.read()).count(b"HTTP/1.1") < http_limits.MAX_SENT_AHEAD
            except ConnectionResetError:
                pass  # unread requests reset it

    run(tmp_path, story)
