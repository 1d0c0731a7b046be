"""Access control and connection limits on every route, through TCP port and Unix socket."""

from __future__ import annotations

import asyncio
import http.client
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mythjobs.web.network.listener import Listener
from mythjobs.web.network.sockets import bind_path
from mythjobs.web.security import access, http_limits
from mythjobs.web.security.access import AccessControl
from mythjobs.web.security.http_limits import LocalConnection
from mythjobs.web.server.errors import Receive, Scope, Send
from tests.integration.web.served_master import TOKEN, ServedMaster, run

FOREIGN: list[tuple[int, dict[str, str | None]]] = [
    (401, {"Authorization": None}),
    (401, {"Authorization": "Bearer " + "u" * 43}),
    (401, {"Authorization": "Basic " + TOKEN}),
    (421, {"Host": "evil.example"}),
    (421, {"Host": "192.168.1.7:6545"}),
    (421, {"Host": "localhost.evil.example"}),
    (421, {"Host": ""}),
    (415, {"Content-Encoding": "gzip"}),
    (413, {"Content-Length": str(2**40)}),
]
FOREIGN_PAGES: list[dict[str, str | None]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},  # a page of another program on this machine
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, methods in schema["paths"].items():
        for method in methods:
            yield method.upper(), re.sub(r"\{\w+\}", "1", path)


@pytest.mark.slow
def test_every_route_rejects_unauthorized_and_cross_origin_requests(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        schema = (await master.request_tcp("GET", "/api/openapi.json")).json
        operations = [*_operations(schema), ("GET", "/api/openapi.json"), ("GET", "/nothing")]
        assert len(operations) > 15
        for method, path in operations:
            for status, headers in FOREIGN:
                answer = await master.request_tcp(method, path, None, headers)
                assert answer.status == status, (method, path, headers)
                assert set(answer.json) == {"code", "message", "exit"}
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            for headers in FOREIGN_PAGES:
                answer = await master.request_tcp(method, path, None, headers)
                assert (answer.status == 403) == (method != "GET"), (method, path, headers)
        assert (await master.request_tcp("GET", "/api/v1/jobs")).json["jobs"] == []

    run(tmp_path, story)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.8.8:6545", "[::1]:1"]
)
def test_loopback_hosts_are_accepted(tmp_path: Path, host: str) -> None:
    async def story(master: ServedMaster) -> None:
        headers: dict[str, str | None] = {"Host": host, "Origin": f"http://{host}"}
        assert (await master.request_tcp("GET", "/api/v1/jobs", None, headers)).status == 200
        answer = await master.request_tcp("POST", "/api/v1/jobs/hold", {"ids": [1]}, headers)
        assert answer.status == 200

    run(tmp_path, story)


def test_the_bearer_scheme_is_case_insensitive(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for scheme, status in (("bearer", 200), ("BEARER ", 200), ("bear", 401), ("", 401)):
            headers: dict[str, str | None] = {"Authorization": f"{scheme} {TOKEN}"}
            assert (await master.request_tcp("GET", "/api/v1/jobs", None, headers)).status == status

    run(tmp_path, story)


def test_repeated_headers_are_ignored(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for twice, status in (("Host: localhost", 421), (f"Authorization: Bearer {TOKEN}", 401)):
            lines = [
                "GET /api/v1/status HTTP/1.1",
                "Host: localhost",
                f"Authorization: Bearer {TOKEN}",
                twice,
                "\r\n",
            ]
            async with master.raw() as (reader, writer):
                writer.write("\r\n".join(lines).encode())
                assert (await reader.readline()).split()[1] == b"%d" % status

    run(tmp_path, story)


def test_the_link_requires_token_and_origin_like_a_request(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        url = f"ws://127.0.0.1:{master.port}/link"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for status, headers in [
            (401, {}),
            (403, bearer | {"Origin": "http://evil.example"}),
            (403, bearer | {"Sec-Fetch-Site": "cross-site"}),
        ]:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers)
            assert refused.value.response.status_code == status
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "s", additional_headers=bearer)
        assert refused.value.response.status_code == 404
        async with connect(url, additional_headers=bearer, compression="deflate") as socket:
            assert b"challenge" in await socket.recv(decode=False)
            assert "Sec-WebSocket-Extensions" not in socket.response.headers  # type: ignore[union-attr]

    run(tmp_path, story)


def test_the_size_limit_applies_to_chunked_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_REQUEST_BYTES", 1000)

    async def story(master: ServedMaster) -> None:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (1001, b"x" * 1001)
        headers: dict[str, str | None] = {"Transfer-Encoding": "chunked"}
        answer = await master.request_tcp("POST", "/api/v1/jobs", body, headers)
        assert (answer.status, answer.json["code"]) == (413, "too_large")

    run(tmp_path, story)


def test_a_client_that_sends_its_whole_body_first_gets_the_rejection(tmp_path: Path) -> None:
    """http.client reads a response only after the whole body is sent."""

    def post(port: int, body: Any, headers: dict[str, str]) -> int:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(client):
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            client.request("POST", "/api/v1/jobs", body, bearer | headers)
            response = client.getresponse()
            response.read()
            return response.status

    async def story(master: ServedMaster) -> None:
        mebibyte = b"x" * 2**20
        for status, mebibytes, headers in [
            (413, 20, {}),
            (415, 3, {"Content-Encoding": "gzip"}),
            (401, 3, {"Authorization": "Bearer wrong"}),
            (403, 3, {"Origin": "https://evil.example"}),
        ]:
            # http.client sends an iterator as chunks.
            for body in (mebibyte * mebibytes, iter([mebibyte] * mebibytes)):
                assert await asyncio.to_thread(post, master.port, body, headers) == status

    run(tmp_path, story)


def test_a_rejected_body_that_is_not_sent_is_not_awaited(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for line in ("Expect: 100-continue\r\nContent-Length: 9", f"Content-Length: {2**40}"):
            async with master.raw() as (reader, writer):
                writer.write(f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
                start = asyncio.get_running_loop().time()
                assert (await reader.read()).startswith(b"HTTP/1.1 421")
                assert asyncio.get_running_loop().time() - start < http_limits.CHECK_INTERVAL_S

    run(tmp_path, story)


def test_another_user_on_the_socket_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(master: ServedMaster) -> None:
        assert (await master.api("GET", "/status")).status == 200
        # Fake the uid that the kernel reports: a test cannot change its own user.
        monkeypatch.setattr(http_limits, "_UCRED", _OtherUser())
        answer = await master.api("GET", "/status")
        assert (answer.status, answer.json["exit"]) == (403, 77)
        assert "belongs to" in answer.json["message"]

    run(tmp_path, story)


class _OtherUser:
    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 1, 4242, 4242


def test_a_head_that_is_too_large_or_too_slow_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_limits, "CHECK_INTERVAL_S", 0.05)

    async def story(master: ServedMaster) -> None:
        async with master.raw() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: " + b"x" * (40 * 1024))
            assert b"431" in await reader.readline()
        for start in (b"", b"GET / HTTP/1.1\r\nHost: local"):
            async with master.raw() as (reader, writer):
                writer.write(start)
                assert await reader.read() == b""

    run(tmp_path, story)


def test_a_large_head_in_one_piece_is_rejected_and_a_large_body_is_not(tmp_path: Path) -> None:
    head = (
        f"POST /api/v1/jobs/hold HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    )

    async def story(master: ServedMaster) -> None:
        async with master.raw() as (reader, writer):
            # 10,000 headers were accepted, because they came with the end of the head.
            writer.write(head.encode() + b"X: y\r\n" * 10_000 + b"\r\n")
            received = await reader.read()
            assert received.startswith(b"HTTP/1.1 431 ")
            assert received.count(b"HTTP/1.1") == 1
        async with master.raw() as (reader, writer):
            body = b'{"ids": [1]' + b" " * 100_000 + b"}"
            writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert b"200" in await reader.readline()

    run(tmp_path, story)


def test_a_body_below_the_minimum_rate_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_limits, "CHECK_INTERVAL_S", 0.05)
    head = (
        f"POST /api/v1/jobs/hold HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Length: %d\r\n\r\n"
    )

    async def story(master: ServedMaster) -> None:
        async with master.raw() as (reader, writer):
            writer.write((head % 100).encode() + b'{"ids"')
            assert await reader.read() == b""

        monkeypatch.setattr(http_limits, "MIN_BYTES_PER_INTERVAL", 1)
        body = b'{"ids": [1]' + b" " * 20 + b"}"
        async with master.raw() as (reader, writer):
            writer.write((head % len(body)).encode())
            for byte in body:
                await asyncio.sleep(0.01)  # five bytes a step
                writer.write(bytes([byte]))
            assert b"200" in await reader.readline()

    run(tmp_path, story)


def test_a_master_may_open_as_many_files_as_the_system_lets_it() -> None:
    program = (
        "import resource as r; from mythjobs.web.security.connection_limit import raise_file_limit;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (100, hard));"
        "assert raise_file_limit() == (100, hard); assert raise_file_limit() is None;"
        "assert r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_connections_leave_descriptors_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A master with 256 connections exited, because its store could not open a file.
    # 32 of the descriptors are for connections, an eighth of these for those to the port.
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    request = f"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"

    async def story(master: ServedMaster) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                reader, writer = await stack.enter_async_context(master.raw())
                writer.write(f"{request}\r\n\r\n".encode())
                assert b"200" in await reader.readline()  # the master has counted the connection
            reader, writer = await stack.enter_async_context(master.raw())
            writer.write(f"{request}\r\n\r\n".encode())
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"unreachable"' in answer
            assert b"has 5 connections to the port, the most that it serves there" in answer
            # Any user can connect to the port, and takes nothing from the Unix socket.
            assert (await master.api("GET", "/status")).status == 200

    run(tmp_path, story)
    messages = [each.message for each in caplog.records if "refusing" in each.message]
    assert messages == [
        "refusing requests: 5 connections to the port are open, and this process may open 64 files "
        "(ulimit -n)"
    ]


def test_a_disconnect_during_the_request_logs_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(master: ServedMaster) -> None:
        for path in ("jobs", "batches?command=note"):
            async with master.raw() as (reader, writer):
                head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n"
                head += f"Authorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\n"
                writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                # The master reads the body from now on.
                assert b"100" in await reader.readline()
                writer.write(b"3\r\n{}\n\r\n")

    run(tmp_path, story)
    assert [each for each in caplog.records if each.exc_info] == []


def test_a_disconnect_during_the_response_logs_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Of pipelined requests, uvicorn reports the lost connection only to the last.
        scope["state"]["connection"].transport.abort()
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def story() -> None:
        listener = Listener(AccessControl(app, None), LocalConnection, browser_headers=False)
        await listener.open(bind_path(tmp_path / "sock"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "sock"))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 2)
        assert await reader.read() == b""
        writer.close()
        await listener.close(1.0)

    uvloop.run(story())
    assert [each for each in caplog.records if each.exc_info] == []
