"""A backend that sends anything: nothing hangs, grows, or ends the bridge."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from mythjobs.errors import MythJobsError, ProtocolError, Unreachable
from mythjobs.mythtv.bridge.monitor import Monitor
from mythjobs.mythtv.protocol.connection import BackendConnection, open_connection
from mythjobs.mythtv.protocol.frames import encode_frame
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.replay import read_request, serve_once
from tests.support.mythtv.services import FakeServices

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
PAUSE_S = 0.01


def trickle(sock: socket.socket, data: bytes) -> None:
    """Send byte by byte, until the client leaves."""
    pause = threading.Event()
    with suppress(OSError):
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
            pause.wait(PAUSE_S)


def answer(data: bytes) -> Callable[[socket.socket], None]:
    """Return a server that answers an HTTP request with a body."""

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        with suppress(OSError):
            sock.sendall(HEAD % len(data) + b"\r\n" + data)

    return serve


def answer_slowly(head: bytes) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(head)
        trickle(sock, b"x" * 2000)

    return serve


@pytest.mark.parametrize("head", [HEAD % 9000 + b"\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_slow_answer_ends_at_the_deadline(head: bytes) -> None:
    with (
        serve_once(answer_slowly(head)) as port,
        Services("127.0.0.1", port, timeout_s=0.2) as services,
        pytest.raises(Unreachable, match=r"does not answer \(no whole answer in 0\.2 s\)"),
    ):
        services.host_name()


def test_an_answer_that_breaks_off() -> None:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(HEAD % 1000 + b'\r\n{"String": "myth')

    with (
        serve_once(serve) as port,
        Services("127.0.0.1", port) as services,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        services.host_name()


def test_an_answer_of_any_size_is_not_kept_in_memory() -> None:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        with suppress(OSError):
            sock.sendall(HEAD % 2**40 + b"\r\n")
            for _ in range(2**20):
                sock.sendall(bytes(2**20))

    with (
        serve_once(serve) as port,
        Services("127.0.0.1", port) as services,
        pytest.raises(ProtocolError, match="answers Myth/GetHostName with over 64 MiB"),
    ):
        services.host_name()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        gzip.compress(
            b'{"String": "mythbox"}', mtime=0
        ),  # the time would be in the name of the test
        b"",
        b"null",
        b'"text"',
        b'{"String": "mythbox"',
    ],
)
def test_an_answer_that_is_no_object(body: bytes) -> None:
    with (
        serve_once(answer(body)) as port,
        Services("127.0.0.1", port) as services,
        pytest.raises(ProtocolError, match="does not answer Myth/GetHostName like a MythTV"),
    ):
        services.host_name()


@pytest.mark.parametrize("verb", ["get", "post"])
def test_a_password_follows_no_other_address(verb: str) -> None:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/x\r\n"
            b"Content-Length: 0\r\n\r\n"
        )

    with serve_once(serve) as port, Services("127.0.0.1", port) as services:
        call = getattr(services, verb)
        with pytest.raises(MythJobsError) as found:
            call("Myth/LoginUser", Password="secret")
        expected = Unreachable if verb == "get" else ProtocolError
        assert isinstance(found.value, expected)


HOSTILE = "a'b\"c`d$(touch x);|&\n\r\t\\\x1b]0;x\x07 \U0001f600 []:[] %TITLE% {title} --opt"


def list_one(title: bytes) -> str:
    fake = FakeServices()
    listed = json.dumps({"ProgramList": {"Programs": [fake.listed[1] | {"Title": "@"}]}})
    fake.close()
    body = listed.encode().replace(b'"@"', title)
    with serve_once(answer(body)) as port, Services("127.0.0.1", port) as services:
        [found] = services.list_recordings(lambda *_: None)
    return found.title


@pytest.mark.parametrize(
    "sent, title",
    [
        (json.dumps(HOSTILE).encode(), HOSTILE),
        (json.dumps(HOSTILE, ensure_ascii=False).encode(), HOSTILE),
        (b'"raw\nnewline"', "raw\nnewline"),
        (b'"bad \xff\xfe bytes"', "bad \ufffd\ufffd bytes"),
        (b'"half \\ud83d character"', "half ? character"),
        (b'"nul \\u0000 character"', "nul  character"),
        (b'"' + b"x" * 1_000_000 + b'"', "x" * 1_000_000),
        (b"null", ""),
        (b"17", "17"),
    ],
)
def test_titles_of_any_characters_arrive(sent: bytes, title: str) -> None:
    assert list_one(sent) == title


def serve_frames(*chunks: bytes) -> Callable[[socket.socket], None]:
    """Return a backend that accepts the version, then sends bytes after each request."""

    def serve(sock: socket.socket) -> None:
        assert sock.recv(4096)
        sock.sendall(encode_frame("ACCEPT", "91"))
        for chunk in chunks:
            assert sock.recv(4096)
            with suppress(OSError):
                sock.sendall(chunk)

    return serve


@pytest.mark.parametrize("prefix", [b"99999999", b"1073741824", b"-1      ", b"0x10    "])
def test_a_length_that_no_backend_sends_closes_the_connection(prefix: bytes) -> None:
    # The first eight digits of a gigabyte are ten megabytes, which never arrive.
    with (
        serve_frames_once(encode_frame("OK"), prefix) as port,
        open_connection("127.0.0.1", port) as connection,
    ):
        connection.announce_monitor("bridge", 0)
        with pytest.raises(MythJobsError, match=r"is it a MythTV|closed the connection"):
            connection.request("QUERY_HOSTNAME", timeout_s=0.1)
        with pytest.raises(Unreachable):
            connection.request("QUERY_HOSTNAME", timeout_s=0.1)


def serve_frames_once(*chunks: bytes) -> AbstractContextManager[int]:
    return serve_once(serve_frames(*chunks))


def test_a_part_of_a_message_is_not_waited_for_for_ever() -> None:
    def serve(sock: socket.socket) -> None:
        trickle(sock, encode_frame("BACKEND_MESSAGE", "x" * 2000, "empty"))

    with serve_once(serve) as port, socket.create_connection(("127.0.0.1", port)) as sock:
        connection = BackendConnection(sock, "it", part_timeout_s=0.1)
        with pytest.raises(Unreachable, match=r"sent a part of a message, and no end in 0\.1 s"):
            connection.receive_message(None)


def test_messages_in_between_do_not_keep_a_request_waiting() -> None:
    event = encode_frame("BACKEND_MESSAGE", "SCHEDULE_CHANGE", "empty") * 1000

    def serve(sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock.sendall(event)

    with serve_once(serve) as port, socket.create_connection(("127.0.0.1", port)) as sock:
        connection = BackendConnection(sock, "it")
        with pytest.raises(Unreachable, match=r"did not answer QUERY_HOSTNAME in 0\.1 s"):
            connection.request("QUERY_HOSTNAME", timeout_s=0.1)


@pytest.mark.parametrize("version", ["9" * 5000, "x", "", "-91", "\u0669\u0661"])
def test_a_version_that_is_no_number(version: str) -> None:
    def serve(sock: socket.socket) -> None:
        assert sock.recv(4096)
        sock.sendall(encode_frame("REJECT", version))

    with (
        serve_once(serve) as port,
        pytest.raises(ProtocolError, match="it is no MythTV backend"),
    ):
        open_connection("127.0.0.1", port)


def test_a_backend_that_breaks_each_connection_is_asked_ever_less_often() -> None:
    backend = FakeBackend()
    waits: list[float] = []
    settings = BridgeSettings("127.0.0.1", backend.port, name="bridge")
    monitor = Monitor(
        settings, 3,
        on_connected=lambda version: backend.drop_clients(),
        on_event=lambda event: None,
        on_lost=lambda sentence: None,
    )  # fmt: skip

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 9:
                self.set()
            return self.is_set()

    monitor._stop = Stop()
    monitor.run()
    backend.close()
    assert waits[0] <= 0.5
    assert 30 <= waits[-1] <= 60
