"""HTTP/1.1 client on a connected socket: one request and response, each possibly chunked.

http.client is not used: it imports email, urllib and ssl, which takes longer than the start of
the interpreter. `mythjobs status` must not take longer than four interpreter starts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

_MAX_LINE_BYTES: Final = 65_536
_MAX_HEADERS: Final = 200
_READ_BYTES: Final = 65_536


class TruncatedResponse(ConnectionError):
    """The server's response is incomplete or not HTTP."""


class Response:
    """Status and headers of a response, and its body as chunks that can be read once."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Iterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.chunks = body

    def read(self) -> bytes:
        return b"".join(self.chunks)


def send_request(
    sock: socket.socket,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Iterator[bytes] = b"",
) -> Response:
    """Send a request and read the head of the response. Raises OSError or TruncatedResponse."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    if not isinstance(body, bytes):
        lines.append("Transfer-Encoding: chunked")
    elif body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    head = ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")
    with suppress(BrokenPipeError, ConnectionResetError):
        # A server that refuses the body closes the connection before it is sent. Read the
        # response nevertheless, which says why.
        _write_request(sock, head, body)
    return _read_response(sock)


def _write_request(sock: socket.socket, head: bytes, body: bytes | Iterator[bytes]) -> None:
    if isinstance(body, bytes):
        sock.sendall(head + body)
        return
    sock.sendall(head)
    for chunk in body:
        if chunk:
            sock.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    sock.sendall(b"0\r\n\r\n")


def _read_response(sock: socket.socket) -> Response:
    reader = _Reader(sock)
    status = 100
    while 100 <= status < 200:
        status, headers = _read_head(reader)
    if status in (204, 304):
        body: Iterator[bytes] = iter(())
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = _read_chunks(reader)
    elif "content-length" in headers:
        body = reader.read_exactly(_parse_length(headers["content-length"], 10))
    else:
        body = reader.read_to_end()
    return Response(status, headers, body)


def _read_head(reader: _Reader) -> tuple[int, dict[str, str]]:
    version, _, rest = reader.read_line().partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isdecimal() and len(status) == 3):
        raise TruncatedResponse("the response is not HTTP")
    headers: dict[str, str] = {}
    while line := reader.read_line():
        name, colon, value = line.partition(":")
        if not colon or len(headers) == _MAX_HEADERS:
            raise TruncatedResponse("the response has invalid headers")
        headers[name.lower()] = value.strip()
    return int(status), headers


def _read_chunks(reader: _Reader) -> Iterator[bytes]:
    while size := _parse_length(reader.read_line().partition(";")[0], 16):
        yield from reader.read_exactly(size)
        if reader.read_line():
            raise TruncatedResponse("a chunk is longer than its length")
    while reader.read_line():  # trailers
        pass


def _parse_length(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise TruncatedResponse("the response has an invalid length")
    return number


class _Reader:
    """Buffered reader of a socket. Raises TruncatedResponse if the connection ends early."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def read_line(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise TruncatedResponse("a line of the response is too long")
            self._buffer += self._receive()
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r").decode("latin-1")

    def read_exactly(self, count: int) -> Iterator[bytes]:
        while count:
            data = self._buffer or self._receive()
            self._buffer = data[count:]
            data = data[:count]
            count -= len(data)
            yield data

    def read_to_end(self) -> Iterator[bytes]:
        data = self._buffer or self._sock.recv(_READ_BYTES)
        while data:
            yield data
            data = self._sock.recv(_READ_BYTES)

    def _receive(self) -> bytes:
        data = self._sock.recv(_READ_BYTES)
        if not data:
            raise TruncatedResponse("the response ended early")
        return data
