"""The agent's WebSocket: messages are the same however their bytes arrive."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from mythjobs.agent.master_socket import MasterSocket


class FakeTransport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, *_: Any) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Connection:
    """A MasterSocket whose HTTP request was sent, and the bytes of the server's response."""

    def __init__(self) -> None:
        protocol = ClientProtocol(parse_uri("ws://localhost/link"))
        self.socket = MasterSocket(protocol)
        self.transport = FakeTransport()
        self.socket.connection_made(self.transport)  # type: ignore[arg-type]
        protocol.send_request(protocol.connect())
        self.socket.send_data()
        server = ServerProtocol()
        server.receive_data(self.transport.written)
        [request] = server.events_received()
        assert isinstance(request, Request)
        server.send_response(server.accept(request))
        self.response = b"".join(server.data_to_send())
        self.transport.written = b""

    def receive(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.socket.data_received(chunk)


def text(payload: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=False)


MESSAGES = [b"{}", b"x" * 125, b"y" * 126, b'{"split":true}', b"z" * 65_535, b"w" * 65_536, b""]
STREAM = b"".join([
    *map(text, MESSAGES[:3]),
    text(b'{"split"', fin=False),
    text(b"p", opcode=Opcode.PING),
    text(b":true}", opcode=Opcode.CONT),
    *map(text, MESSAGES[4:]),
])  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_messages_do_not_depend_on_how_their_bytes_arrive(seed: int) -> None:
    async def story() -> None:
        connection = Connection()
        data = connection.response + STREAM
        draw = random.Random(seed)
        # Many cuts between frames and inside headers, some with nothing after a frame's end.
        ends = [len(connection.response), *range(len(connection.response), 600)]
        cuts = sorted({0, len(data), *draw.sample(ends, draw.randrange(12))})
        received: list[bytes] = []
        if draw.random() < 0.5:
            passing = asyncio.create_task(connection.socket.pass_messages(received.append, print))
            await asyncio.sleep(0)
        connection.receive(*(data[begin:end] for begin, end in itertools.pairwise(cuts)))
        if not received:
            passing = asyncio.create_task(connection.socket.pass_messages(received.append, print))
            await asyncio.sleep(0)
        assert received == MESSAGES
        assert connection.transport.written.startswith(b"\x8a\x81")  # pong
        connection.socket.connection_lost(None)
        await passing

    asyncio.run(story())


INNER: bytes = text(b"{}")


@pytest.mark.parametrize("with_response", [False, True])
def test_a_part_of_a_frame_that_looks_like_a_whole_one_is_no_message(with_response: bool) -> None:
    async def story() -> None:
        connection = Connection()
        received: list[bytes] = []
        passing = asyncio.create_task(connection.socket.pass_messages(received.append, print))
        await asyncio.sleep(0)
        first = text(b"outer" + INNER).removesuffix(INNER)
        if with_response:
            connection.receive(connection.response + first, INNER)
        else:
            connection.receive(connection.response, first, INNER)
        assert received == [b"outer" + INNER]
        connection.socket.connection_lost(None)
        await passing

    asyncio.run(story())


def test_only_frames_in_pieces_reach_the_parser() -> None:
    async def story() -> None:
        connection = Connection()
        received: list[bytes] = []
        passing = asyncio.create_task(connection.socket.pass_messages(received.append, print))
        await asyncio.sleep(0)
        connection.receive(connection.response)
        parsed = []
        process_event = connection.socket.process_event

        def count(event: Event) -> None:
            parsed.append(event)
            process_event(event)

        connection.socket.process_event = count  # type: ignore[method-assign]
        sizes = [0, 125, 126, 2**16 - 1, 2**16]
        for size in sizes:
            frame = text(b"x" * size)
            connection.receive(frame[:1], frame[1:], frame)
        assert [len(each) for each in received] == [each for each in sizes for _ in range(2)]
        assert len(parsed) == len(sizes)
        connection.socket.connection_lost(None)
        await passing

    asyncio.run(story())


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x82abcd{}",  # masked
        b"\xc1\x02{}",  # reserved bit
        b"\x83\x02{}",  # unknown opcode
        text(b"{", fin=False) + INNER,  # a text frame among the fragments of another
        text(b"{", fin=False) + text(b"p", opcode=Opcode.PING) + INNER,
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_invalid_frame_ends_the_connection(data: bytes, at_once: bool) -> None:
    async def story() -> None:
        connection = Connection()
        last = [data] if at_once else [data.removesuffix(INNER), data[-len(INNER) :]]
        connection.receive(connection.response, *last)
        assert b"\x88" in connection.transport.written  # close
        connection.socket.connection_lost(None)
        with pytest.raises(ConnectionClosed):
            await connection.socket.receive_message()

    asyncio.run(story())


@pytest.mark.parametrize("end", [b"\x88\x02\x03\xe8", b"\x88\x00", b"\x83\x02{}"])
@pytest.mark.parametrize("at_once", [True, False])
def test_nothing_is_received_after_a_close_frame_or_an_invalid_one(
    end: bytes, at_once: bool
) -> None:
    """RFC 6455, 5.5.1. Seen: a text frame that arrived alone after a close frame was handled."""

    async def story() -> None:
        connection = Connection()
        received: list[bytes] = []
        passing = asyncio.create_task(connection.socket.pass_messages(received.append, print))
        await asyncio.sleep(0)
        pieces = [end, text(b"1"), text(b"2")]
        connection.receive(connection.response, *([b"".join(pieces)] if at_once else pieces))
        connection.socket.connection_lost(None)
        await passing
        assert received == []

    asyncio.run(story())


def test_an_error_of_a_handler_ends_the_passing_of_messages() -> None:
    async def story() -> None:
        connection = Connection()
        received = []

        def fail(message: bytes) -> None:
            received.append(message)
            raise ValueError("x")

        passing = asyncio.create_task(connection.socket.pass_messages(fail, print))
        await asyncio.sleep(0)
        connection.receive(connection.response, text(b"1") + text(b"2"), text(b"3"))
        with pytest.raises(ValueError, match="x"):
            await passing
        assert received == [b"1"]

    asyncio.run(story())
