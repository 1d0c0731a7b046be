"""The connection to a backend, and the fake backend against the recordings."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from mythjobs.errors import ProtocolError, Unreachable
from mythjobs.mythtv.protocol.connection import open_connection
from mythjobs.mythtv.protocol.frames import TOKENS
from tests.support.mythtv import transcripts
from tests.support.mythtv.backend import FakeBackend

# Two sockets (below); marks, which the fake does not keep; requests that end a backend.
OTHERS = ("25", "41", "90")
# Answers that differ at each request: the time since the start.
VOLATILE = (b"QUERY_UPTIME", b"QUERY_LOAD", b"QUERY_MEMSTATS")


def is_whole(data: bytes) -> bool:
    return data[:8].strip().isdigit() and len(data) == 8 + int(data[:8])


@pytest.mark.parametrize(
    "path",
    [each for each in transcripts.conversations() if each.stem[:2] not in OTHERS],
    ids=lambda each: each.stem,
)
def test_the_fake_backend_answers_as_the_recorded_one(backend: FakeBackend, path: Path) -> None:
    conversations: list[list[transcripts.Line]] = []
    for line in transcripts.read_transcript(path):
        if line.direction == "!" and line.data.startswith(b"connected"):
            conversations.append([])
        else:
            conversations[-1].append(line)
    for lines in conversations:
        with socket.create_connection(("127.0.0.1", backend.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            replay(sock, lines, backend)


def replay(sock: socket.socket, lines: list[transcripts.Line], backend: FakeBackend) -> None:
    sent = b""
    sock.settimeout(10)
    for number, line in enumerate(lines):
        if line.direction == ">":
            sent = line.data
            before = len(backend.requests)
            sock.sendall(line.data)
            # A write by bytes is read by bytes, as in the recording.
            if is_whole(line.data) and not line.data.endswith(b"DONE"):
                _wait_for_requests(backend, before)
        elif line.direction == "<":
            received = receive(sock, len(line.data))
            if not any(each in sent for each in VOLATILE) and not line.data[8:].isdigit():
                assert received == line.data
        elif line.data == b"connection closed by the backend":
            assert sock.recv(1) == b""
        elif line.data.startswith(b"no reply"):
            assert number > 0
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            sock.settimeout(10)


def test_the_fake_backend_passes_messages_on_as_the_recorded_one(backend: FakeBackend) -> None:
    with ExitStack() as stack:
        sockets: dict[str, socket.socket] = {}
        path = transcripts.RECORDINGS / "protocol" / "25-message.txt"
        for line in transcripts.read_transcript(path):
            if line.data.startswith(b"connected"):
                address = ("127.0.0.1", backend.port)
                sock = stack.enter_context(socket.create_connection(address, 10))
                sockets[line.socket] = sock
            elif line.direction == ">":
                count = len(backend.requests)
                sockets[line.socket].sendall(line.data)
            elif line.direction == "<":
                assert receive_frame(sockets[line.socket]) == line.data
            elif line.data.startswith(b"no reply"):
                # Two frames in one read would be one request to the backend.
                _wait_for_requests(backend, count)


def receive_frame(sock: socket.socket) -> bytes:
    head = receive(sock, 8)
    return head + receive(sock, int(head))


def _wait_for_requests(backend: FakeBackend, count: int) -> None:
    with backend.changed:
        assert backend.changed.wait_for(lambda: len(backend.requests) > count, 60)


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


@pytest.mark.parametrize("version", sorted(TOKENS))
def test_a_backend_of_any_version_is_spoken_to(version: int) -> None:
    backend = FakeBackend(version)
    try:
        with open_connection("127.0.0.1", backend.port) as connection:
            assert connection.version == version
            connection.announce_monitor("bridge", 3)
            backend.wait_for(3)
    finally:
        backend.close()


def test_a_newer_backend_is_refused_with_its_version(backend: FakeBackend) -> None:
    backend.version = 99
    with pytest.raises(ProtocolError, match="speaks protocol version 99; known are 72, 75"):
        open_connection("127.0.0.1", backend.port)


def test_a_request_is_answered(backend: FakeBackend) -> None:
    with open_connection("127.0.0.1", backend.port) as connection:
        connection.announce_monitor("bridge", 0)
        assert connection.request("QUERY_HOSTNAME") == ["mythbox"]
        reply = connection.request("QUERY_FILE_EXISTS", "1001_20260715181300.ts", "Default")
        assert reply[:2] == ["1", "/srv/recordings/1001_20260715181300.ts"]


def test_the_fake_notices_requests_that_were_never_recorded(backend: FakeBackend) -> None:
    with open_connection("127.0.0.1", backend.port) as connection:
        connection.announce_monitor("bridge", 0)
        connection.request("QUERY_FILE_EXISTS", "a.ts", "Default", "more")
        connection.request("QUERY_JOBQUEUE")
    assert backend.unrecorded == [
        "QUERY_FILE_EXISTS[]:[]a.ts[]:[]Default[]:[]more",
        "QUERY_JOBQUEUE",
    ]
    backend.unrecorded.clear()


def test_a_request_without_an_answer_ends_the_connection(backend: FakeBackend) -> None:
    with open_connection("127.0.0.1", backend.port) as connection:
        connection.announce_monitor("bridge", 0)
        with pytest.raises(Unreachable, match=r"did not answer MESSAGE in 0\.05 s"):
            connection.request("MESSAGE", timeout_s=0.05)
        with pytest.raises(Unreachable):
            connection.request("QUERY_HOSTNAME")


def test_events_between_request_and_reply_are_passed_over(backend: FakeBackend) -> None:
    with open_connection("127.0.0.1", backend.port) as connection:
        connection.announce_monitor("bridge", 1)
        assert connection.request("MESSAGE", "BRIDGE_TEST one") == ["OK"]
        message = connection.receive_message(60)
        assert message == ["BACKEND_MESSAGE", "BRIDGE_TEST one", "empty"]
        assert connection.receive_message(0.01) is None


def test_system_events_go_to_mode_3_and_others_to_mode_2(backend: FakeBackend) -> None:
    with (
        open_connection("127.0.0.1", backend.port) as system,
        open_connection("127.0.0.1", backend.port) as other,
    ):
        system.announce_monitor("bridge", 3)
        other.announce_monitor("bridge", 2)
        for mode in (2, 3):
            backend.wait_for(mode)
        for frame in transcripts.events("10-recording-short.mode3-bridge3"):
            backend.send_frame(frame)
        backend.send_event("SCHEDULE_CHANGE")
        message = system.receive_message(60)
        assert message is not None
        assert message[1].startswith("SYSTEM_EVENT SCHEDULER_RAN")
        assert other.receive_message(60) == ["BACKEND_MESSAGE", "SCHEDULE_CHANGE", "empty"]


def test_a_broken_connection_is_reported(backend: FakeBackend) -> None:
    with open_connection("127.0.0.1", backend.port) as connection:
        connection.announce_monitor("bridge", 3)
        backend.drop_clients()
        with pytest.raises(Unreachable, match="closed the connection"):
            connection.receive_message(60)


def test_no_backend_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(Unreachable, match=f"cannot reach the MythTV backend 127.0.0.1:{port}"):
        open_connection("127.0.0.1", port)
