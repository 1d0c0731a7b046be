"""Requests that are valid, but unlike those of most clients."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.web.served_master import TOKEN, ServedMaster, run

pytestmark = pytest.mark.slow
HOST = "Host: localhost\r\n"
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
JOB = b'{"command": "none"}'
# Java's HTTP client adds these to the first request of a connection, curl with its option --http2.
HTTP_2 = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
)


def post(fields: str, body: bytes = JOB) -> bytes:
    head = f"POST /api/v1/jobs HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_code(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return status and error code of the next response."""
    status = int((await reader.readline()).split()[1])
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return status, json.loads(await reader.readexactly(size)).get("code", "")


NO_SUCH_COMMAND = (404, "no_such_command")


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_request_that_offers_http_2_keeps_its_body(tmp_path: Path, size: int) -> None:
    """Seen: the body was dropped, or read as the next request, as that of another protocol."""
    chunked = (
        f"POST /api/v1/jobs HTTP/1.1\r\n{HOST}{BEARER}{HTTP_2}Transfer-Encoding: chunked\r\n\r\n"
        f"{len(JOB):x}\r\n{JOB.decode()}\r\n0\r\n\r\n"
    )
    data = post(HOST + BEARER + HTTP_2) + chunked.encode() + post(HOST + BEARER)

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await asyncio.sleep(0)
            for _ in range(3):
                assert await read_code(reader) == NO_SUCH_COMMAND

    run(tmp_path, story)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("offer", [HTTP_2, HTTP_2.replace("Upgrade,", "close, Upgrade,")])
def test_the_last_request_of_a_connection_may_offer_http_2(
    tmp_path: Path, version: str, offer: str
) -> None:
    """Seen: it got no response, as the parser takes nothing after the last request."""

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(post(HOST + BEARER + offer).replace(b"HTTP/1.1", version.encode()))
            assert await read_code(reader) == NO_SUCH_COMMAND

    run(tmp_path, story)


def test_a_request_that_offers_http_2_is_checked_like_others(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for fields, expected in [
            (HOST, (401, "not_allowed")),
            (BEARER, (421, "misdirected")),
            (HOST + BEARER + "Origin: http://evil.example\r\n", (403, "foreign_origin")),
            (HOST + BEARER + "X: y\r\n" * 10_000, (431, "bad_request")),
        ]:
            async with asyncio.timeout(30), master.raw() as (reader, writer):
                writer.write(post(fields + HTTP_2))
                assert await read_code(reader) == expected

    run(tmp_path, story)


def test_blanks_around_a_header_are_no_part_of_it(tmp_path: Path) -> None:
    """RFC 9110 §5.5. Seen: "localhost " was refused as the name of another machine."""
    fields = f"Host: \tlocalhost \t\r\nAuthorization:Bearer  {TOKEN} \t\r\n"

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            writer.write(post(fields))
            assert await read_code(reader) == NO_SUCH_COMMAND
            writer.write(post(fields + "Expect: 100-continue \r\n", b""))
            assert b" 100 " in await reader.readline()

    run(tmp_path, story)


@pytest.mark.parametrize(
    "length", ["999999999999 ", "999999999999\t", "18446744073709551615", "0" * 5000 + "9" * 12]
)
def test_the_size_limit_applies_however_the_length_is_written(tmp_path: Path, length: str) -> None:
    """Seen: these bodies had no limit, as their length counted as 0."""

    async def story(master: ServedMaster) -> None:
        async with asyncio.timeout(30), master.raw() as (reader, writer):
            head = f"POST /api/v1/jobs HTTP/1.1\r\n{HOST}{BEARER}Content-Length: {length}\r\n\r\n"
            writer.write(head.encode())
            assert await read_code(reader) == (413, "too_large")

    run(tmp_path, story)
