import socket
import threading
from collections.abc import Iterator

import pytest

from mythjobs.client import http


def exchange(*pieces: bytes, body: bytes | Iterator[bytes] = b"") -> tuple[http.Response, bytes]:
    """Return the response made of these pieces, and the bytes of the request."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send_pieces, args=(theirs, pieces))
        sender.start()
        found = http.send_request(ours, "POST", "/x", {"Host": "h"}, body)
        sender.join()
        found.chunks = iter([b"".join(found.chunks)])
        sent = b""
        ours.shutdown(socket.SHUT_WR)
        while data := theirs.recv(65_536):
            sent += data
        return found, sent


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello and more",
        b"HTTP/1.1 201\r\ntransfer-encoding: Chunked\r\nX-A: b\r\n\r\n"
        b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 201 OK\nX-A: b\n\nhello",
    ],
)
def test_a_response_can_arrive_in_any_pieces(whole: bytes) -> None:
    for size in (1, 7, len(whole)):
        found, _ = exchange(*(whole[at : at + size] for at in range(0, len(whole), size)))
        assert (found.status, found.headers["x-a"], found.read()) == (201, "b", b"hello")


@pytest.mark.parametrize(
    "whole",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: 1\r\n" % n for n in range(300)) + b"\r\n",
    ],
)
def test_a_truncated_response_is_an_error(whole: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        sender = threading.Thread(target=send, args=(theirs, whole))
        sender.start()
        with pytest.raises(ConnectionError):  # TruncatedResponse, or an error of the kernel
            http.send_request(ours, "GET", "/", {}).read()
    sender.join()


def send_pieces(sock: socket.socket, pieces: tuple[bytes, ...]) -> None:
    for each in pieces:
        sock.sendall(each)
    sock.shutdown(socket.SHUT_WR)


def send(sock: socket.socket, data: bytes) -> None:
    with sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # the client has closed the connection


def test_a_request_declares_the_length_of_its_body() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    _, sent = exchange(ok, body=b"abc")
    assert (
        sent == b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    _, sent = exchange(ok, body=iter([b"ab", b"", b"c" * 16]))
    assert sent.endswith(b"\r\n\r\n2\r\nab\r\n10\r\n" + b"c" * 16 + b"\r\n0\r\n\r\n")


def test_an_early_refusal_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        theirs.close()
        found = http.send_request(ours, "POST", "/", {}, iter([b"x" * 100_000] * 10))
        assert (found.status, found.read()) == (413, b"big")
