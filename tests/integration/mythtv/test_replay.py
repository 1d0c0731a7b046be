"""The bridge's connections against the recorded conversations, byte by byte."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from mythjobs.errors import BadRequest, MythJobsError, Unreachable
from mythjobs.mythtv.bridge.monitor import Monitor
from mythjobs.mythtv.protocol.connection import BackendConnection
from mythjobs.mythtv.protocol.events import MonitorEvent, SystemEvent, parse_event
from mythjobs.mythtv.protocol.frames import SEPARATOR, FrameDecoder, encode_frame
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings
from tests.support.mythtv import transcripts
from tests.support.mythtv.replay import replay_connection, replay_exchange, split_connections
from tests.support.mythtv.services import RecordedExchange, recorded_exchanges
from tests.support.mythtv.transcripts import Line, events

CONNECTIONS = [
    pytest.param(lines, id=f"{path.stem}-{number}")
    for path in transcripts.conversations()
    for number, lines in enumerate(split_connections(path))
]
MONITORS = sorted(each.stem for each in transcripts.conversations("events"))


def decode(frame: bytes) -> list[str]:
    [message] = FrameDecoder().feed(frame)
    return message


def is_request(data: bytes) -> bool:
    """Return whether the client can send it: one whole frame, written as the client writes it."""
    fields = data[8:].decode().split(SEPARATOR)
    return fields != [""] and data == encode_frame(*fields)


@pytest.mark.parametrize("lines", CONNECTIONS)
def test_a_recorded_conversation_is_repeated(lines: list[Line]) -> None:
    with (
        replay_connection(lines) as port,
        socket.create_connection(("127.0.0.1", port), 60) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = BackendConnection(sock, "replay")
        for request, frames in _group(lines):
            if not is_request(request):
                sock.sendall(request)
                for frame in frames:
                    assert connection.receive_message(60) == decode(frame)
                continue
            fields = decode(request)
            if fields == ["DONE"]:
                connection.close()
                return
            replies = [each for each in frames if b"BACKEND_MESSAGE" not in each]
            if not replies:
                # The backend does not answer; the client never waits for a late reply.
                with pytest.raises(Unreachable, match=r"did not answer|closed the connection"):
                    connection.request(*fields, timeout_s=0.05)
                return
            assert connection.request(*fields) == decode(replies[0])
            for frame in replies[1:]:
                assert connection.receive_message(60) == decode(frame)


def _group(lines: list[Line]) -> list[tuple[bytes, list[bytes]]]:
    found: list[tuple[bytes, list[bytes]]] = []
    for line in lines:
        if line.direction == ">":
            found.append((line.data, []))
        elif line.direction == "<" and found:
            found[-1][1].append(line.data)
    return found


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_receives_the_recorded_events(name: str) -> None:
    mode = 3 if "mode3" in name else 2
    received: list[MonitorEvent] = []
    lost: list[str] = []

    def on_lost(sentence: str) -> None:
        lost.append(sentence)
        monitor.stop()

    [lines] = split_connections(transcripts.RECORDINGS / "events" / f"{name}.txt")
    # The recorder left by itself; here the backend closes the connection.
    played = [each for each in lines if each.direction != ">" or b"DONE" not in each.data]
    with replay_connection(played) as port:
        monitor = Monitor(
            BridgeSettings("127.0.0.1", port, name=f"bridge{mode}"),
            mode,
            on_connected=lambda version: None,
            on_event=received.append,
            on_lost=on_lost,
        )
        monitor.run()
    parsed = [parse_event(decode(each), 91) for each in events(name)]
    assert received == [each for each in parsed if each is not None]
    assert "closed the connection" in lost[0]
    finished = [e for e in received if isinstance(e, SystemEvent) and e.name == "REC_FINISHED"]
    assert all(each.recording_key and each.recording_status == -3 for each in finished)


def asks_for_json(exchange: RecordedExchange) -> bool:
    headers = exchange.request_headers
    return (
        exchange.verb in ("GET", "POST")
        and headers.get("Accept") == "application/json"
        and headers.get("Content-Type", "").partition(";")[0]
        in ("", "application/x-www-form-urlencoded")
        and "Range" not in headers
    )


@pytest.mark.parametrize(
    "exchange",
    [
        each
        for name in ("api", "replay")
        for each in recorded_exchanges(name)
        if asks_for_json(each)
    ],
    ids=lambda each: each.name,
)
def test_a_recorded_exchange_is_repeated(exchange: RecordedExchange) -> None:
    url = urlsplit(exchange.target)
    query = exchange.body if exchange.verb == "POST" else url.query
    given = dict(parse_qsl(query, keep_blank_values=True))
    with (
        replay_exchange(exchange) as port,
        Services("127.0.0.1", port) as services,
    ):
        call = services.post if exchange.verb == "POST" else services.get
        if exchange.status == 200:
            assert call(url.path.lstrip("/"), **given) == json.loads(exchange.reply)
        else:
            with pytest.raises(MythJobsError) as found:
                call(url.path.lstrip("/"), **given)
            assert isinstance(found.value, BadRequest)
            title = exchange.reply.partition(b"<TITLE>")[2].partition(b"</TITLE>")[0].decode()
            assert title in found.value.sentence


def test_every_recorded_frame_of_a_monitor_is_encoded_again() -> None:
    for name in MONITORS:
        for frame in events(name):
            assert encode_frame(*frame[8:].decode().split(SEPARATOR)) == frame


def test_all_conversations_of_the_recordings_are_here() -> None:
    assert len(CONNECTIONS) > 60
    assert len(MONITORS) == 26
    assert Path(transcripts.RECORDINGS / "replay").is_dir()
