"""A job's output over HTTP, from the spool and live from the agent."""

from __future__ import annotations

import asyncio
import http.client
import socket
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mythjobs.master.output.reader import AttemptOutput
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import TRANSFER_WINDOW_BYTES
from mythjobs.protocol.output_frames import MEDIA_TYPE, encode_frame
from tests.integration.master.link_fixtures import FakeAgent
from tests.integration.web.served_master import ServedMaster, run, serve_master


def _fake_attempt(
    master: ServedMaster, *streams: tuple[int, int, int], is_ended: bool = True
) -> None:
    """Fake the store's answer: job 7 ran on machine 1."""

    async def look(job: int, n: int | None) -> AttemptOutput:
        return AttemptOutput(n or 1, 1, "attic", is_ended, streams)

    master.master.find_attempt_output = look  # type: ignore[method-assign]


async def _agent(master: ServedMaster) -> FakeAgent:
    from websockets.asyncio.client import unix_connect

    agent = FakeAgent(await unix_connect(str(master.path), "ws://localhost/link", compression=None))
    welcome = await agent.send_hello()
    assert isinstance(welcome, m.Welcome)
    return agent


def test_spooled_output_has_a_content_length(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        _fake_attempt(master, (100, 4, 4))
        path = master.state_dir.output / "0/7.1.1"
        path.parent.mkdir()
        path.write_bytes(b"headtail")
        answer = await master.api("GET", "/jobs/7/output?offset=2")
        assert (answer.status, answer.body) == (200, b"adtail")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-length"] == "6"
        assert (answer.headers["x-attempt"], answer.headers["x-dropped"]) == ("1", "92")

    run(tmp_path, story)


def test_head_does_not_wait_for_output_that_is_followed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _agent(master)
        _fake_attempt(master, is_ended=False)
        answer = await master.api("HEAD", "/jobs/7/output?follow=true")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["x-attempt"] == "1"

    run(tmp_path, story)


def test_the_last_lines_come_with_the_position_after_them(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        _fake_attempt(master, (1000, 6, 7))
        path = master.state_dir.output / "0/7.1.1"
        path.parent.mkdir()
        path.write_bytes(b"a\nb\nc\nxx\ny\nz\n")
        answer = await master.api("GET", "/jobs/7/output?lines=2")
        assert (answer.status, answer.body) == (200, b"y\nz\n")
        assert (answer.headers["x-end"], answer.headers["x-dropped"]) == ("1000", "0")
        # Lines from before the dropped bytes: the client learns how many are missing in between.
        answer = await master.api("GET", "/jobs/7/output?lines=5")
        assert (answer.body, answer.headers["x-dropped"]) == (b"b\nc\nxx\ny\nz\n", "987")
        for query in ("lines=-1", "lines=1&follow=true", "lines=1&offset=3", "lines=99999999"):
            refused = await master.api("GET", f"/jobs/7/output?{query}")
            assert (refused.status, refused.json["message"][:6]) == (400, "lines:")

    run(tmp_path, story)


def test_the_last_lines_of_a_running_attempt_are_those_written_so_far(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        pending = asyncio.ensure_future(master.api("GET", "/jobs/7/output?lines=1"))
        fetch = await agent.receive_fetch()
        assert not fetch.follow
        await agent.send_chunk(fetch.transfer, 0, b"one\ntw")
        await agent.send_chunk(fetch.transfer, 500, b"o\nthree\nfo")  # the middle is not kept
        await agent.send_messages(m.OutputEnd(fetch.transfer))
        answer = await pending
        assert (answer.body, answer.headers["x-end"]) == (b"fo", "510")
        assert "x-dropped" not in answer.headers
        await agent.socket.close()

    run(tmp_path, story)


def test_frames_tell_where_bytes_are_missing(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        path = master.state_dir.output / "0/7.1.1"
        path.parent.mkdir()
        path.write_bytes(b"headtail")
        for offset, frames in (
            (0, [(0, b"head"), (96, b"tail")]),
            (2, [(2, b"ad"), (96, b"tail")]),
            (4, [(96, b"tail")]),
            (50, [(96, b"tail")]),
            (98, [(98, b"il")]),
            (100, []),
        ):
            _fake_attempt(master, (100, 4, 4))
            answer = await master.api("GET", f"/jobs/7/output?framed=true&offset={offset}")
            assert answer.headers["content-type"] == MEDIA_TYPE
            assert answer.body == b"".join(encode_frame(*each) for each in frames)

    run(tmp_path, story)


def test_frames_of_a_running_attempt_tell_where_bytes_are_missing(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        waiting = asyncio.ensure_future(
            master.api("GET", "/jobs/7/output?follow=true&framed=true&offset=2")
        )
        fetch = await agent.receive_fetch()
        await agent.send_chunk(fetch.transfer, 2, b"one")
        await agent.send_chunk(fetch.transfer, 70, b"two")
        await agent.send_messages(m.OutputEnd(fetch.transfer))
        assert (await waiting).body == encode_frame(2, b"one") + encode_frame(70, b"two")
        await agent.socket.close()

    run(tmp_path, story)


def test_output_is_followed_until_the_attempt_ends(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        reader, writer = await asyncio.open_unix_connection(str(master.path))
        writer.write(b"GET /api/v1/jobs/7/output?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert b"x-dropped" not in head
        fetch = await agent.receive_fetch()
        for at, chunk in ((0, b"one"), (3, b"two")):
            await agent.send_chunk(fetch.transfer, at, chunk)
            # Each chunk arrives before the next is sent.
            assert await reader.readuntil(chunk + b"\r\n") == b"3\r\n" + chunk + b"\r\n"
        await agent.send_messages(m.OutputEnd(fetch.transfer))
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        writer.close()
        await writer.wait_closed()
        await agent.socket.close()

    run(tmp_path, story)


def test_a_client_disconnect_stops_the_transfer(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        reader, writer = await asyncio.open_unix_connection(str(master.path))
        writer.write(b"GET /api/v1/jobs/7/output?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        fetch = await agent.receive_fetch()
        writer.close()
        await writer.wait_closed()
        assert await agent.receive_messages() == [m.OutputStop(fetch.transfer)]
        await agent.socket.close()

    run(tmp_path, story)


def test_a_client_that_does_not_read_stalls_the_agent(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        # A client with a small receive buffer that reads nothing.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(str(master.path))
        sock.sendall(b"GET /api/v1/jobs/7/output?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        fetch = await agent.receive_fetch()
        sent = 0
        credit = TRANSFER_WINDOW_BYTES
        while credit:
            size = min(credit, 65536)
            await agent.send_chunk(fetch.transfer, sent, bytes(size))
            sent, credit = sent + size, credit - size
            try:
                async with asyncio.timeout(0.3):
                    while not credit:
                        credit += sum(_credit(each) for each in await agent.receive_messages())
            except TimeoutError:
                break
        # Bounded by the buffers of socket and server.
        assert sent < 8 * TRANSFER_WINDOW_BYTES
        sock.close()
        await agent.socket.close()

    run(tmp_path, story)


def _credit(message: m.MasterMessage) -> int:
    assert isinstance(message, m.OutputCredit)
    return message.bytes


def test_a_failed_transfer_is_not_mistaken_for_complete_output(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        agent = await _agent(master)
        _fake_attempt(master, is_ended=False)
        pending = asyncio.ensure_future(master.api("GET", "/jobs/7/output?follow=true"))
        fetch = await agent.receive_fetch()
        await agent.send_chunk(fetch.transfer, 0, b"one")
        await agent.send_messages(m.OutputEnd(fetch.transfer, error="gone"))
        try:
            answer: Any = await pending
        except (http.client.IncompleteRead, ConnectionError) as error:
            answer = error
        assert isinstance(answer, http.client.IncompleteRead)
        # An error before the first byte has a status and an error body.
        pending = asyncio.ensure_future(master.api("GET", "/jobs/7/output"))
        fetch = await agent.receive_fetch()
        await agent.send_messages(m.OutputEnd(fetch.transfer, error="gone"))
        rejected = await pending
        assert (rejected.status, rejected.json["exit"]) == (503, 69)
        assert "attic" in rejected.json["message"]
        await agent.socket.close()

    run(tmp_path, story)


def test_a_followed_log_is_truncated_when_the_master_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serve_master(tmp_path) as master:
            agent = await _agent(master)
            _fake_attempt(master, is_ended=False)
            reader, writer = await asyncio.open_unix_connection(str(master.path))
            writer.write(b"GET /api/v1/jobs/7/output?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await agent.receive_fetch()
        assert await reader.read() == b""  # no last chunk: the body is incomplete
        writer.close()
        await writer.wait_closed()
        await agent.socket.close()

    uvloop.run(story())
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []
