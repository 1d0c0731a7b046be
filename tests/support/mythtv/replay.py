"""Servers that repeat recorded conversations byte by byte, and check that the client does too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from tests.support.mythtv.services import RecordedExchange
from tests.support.mythtv.transcripts import Line, read_transcript

_TIMEOUT_S = 60.0
_CLOSED = b"connection closed by the backend"


def split_connections(path: Path) -> list[list[Line]]:
    """Return the lines of each connection of a transcript, without its first line."""
    connections: dict[int, list[Line]] = {}
    present: dict[str, int] = {}
    for line in read_transcript(path):
        if line.direction == "!" and line.data.startswith(b"connected"):
            present[line.socket] = len(connections)
            connections[len(connections)] = []
        elif line.socket in present:
            connections[present[line.socket]].append(line)
    return list(connections.values())


@contextmanager
def replay_connection(lines: list[Line]) -> Iterator[int]:
    """Be the backend of one recorded connection; yield the port.

    At the end it is checked that the client has sent the recorded bytes, up to where it left.
    """

    def serve(sock: socket.socket) -> None:
        for line in lines:
            if line.direction == ">":
                if not _expect(sock, line.data):
                    return
            elif line.direction == "<":
                try:
                    sock.sendall(line.data)
                except ConnectionError:
                    # The client has left. The recorded one did so later.
                    return
            elif line.data.startswith(_CLOSED):
                return

    with serve_once(serve) as port:
        yield port


@contextmanager
def replay_exchange(exchange: RecordedExchange) -> Iterator[int]:
    """Be the Services API for one recorded exchange; yield the port. At the end it is checked that
    the request was the recorded one, but for its host and its user agent."""

    def serve(sock: socket.socket) -> None:
        head, body = read_request(sock)
        first, *rest = head.split("\r\n")
        # Colons and the like may be encoded or not.
        assert unquote(first) == unquote(f"{exchange.verb} {exchange.target} HTTP/1.1")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
        for name, value in exchange.request_headers.items():
            assert name == "Host" or headers[name.lower()] == value, name
        assert body == exchange.body
        sock.sendall(f"{exchange.reply_head}\r\n\r\n".encode() + exchange.reply)

    with serve_once(serve) as port:
        yield port


@contextmanager
def serve_once(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let `serve` handle one connection; yield the port. What it raises is raised at the end."""
    failures: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_TIMEOUT_S)

        def run() -> None:
            try:
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(_TIMEOUT_S)
                    serve(sock)
                    # A close with unread bytes would reset the connection before its last reply.
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(2 * _TIMEOUT_S)
    if failures:
        raise failures[0]


def _expect(sock: socket.socket, wanted: bytes) -> bool:
    """Return False if the client left instead: after a request without a reply it does."""
    found = b""
    while len(found) < len(wanted):
        chunk = sock.recv(len(wanted) - len(found))
        if not chunk:
            assert not found, f"{found!r} is only a part of {wanted!r}"
            return False
        found += chunk
    assert found == wanted
    return True


def read_request(sock: socket.socket) -> tuple[str, str]:
    """Return head and body of an HTTP request."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(65536)
        assert chunk, data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [each.lower().partition(b":") for each in head.split(b"\r\n")]
    sizes = [value for name, _, value in lines if name == b"content-length"]
    while sizes and len(body) < int(sizes[0]):
        body += sock.recv(65536)
    return head.decode(), body.decode()
