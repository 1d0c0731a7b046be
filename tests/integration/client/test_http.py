import socket
import threading
from collections.abc import Iterator

import pytest

from mythjobs.client import http


def answer(*pieces: bytes, body: bytes | Iterator[bytes] = b"") -> tuple[http.Response, bytes]:
    """What comes of these bytes, piece by piece, and what was sent for them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=say, args=(theirs, pieces))
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
def test_an_answer_is_the_same_however_it_is_cut(whole: bytes) -> None:
    for size in (1, 7, len(whole)):
        found, _ = answer(*(whole[at : at + size] for at in range(0, len(whole), size)))
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
def test_an_answer_that_is_broken_off_is_never_taken_for_a_whole_one(whole: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        sender = threading.Thread(target=send, args=(theirs, whole))
        sender.start()
        with pytest.raises(ConnectionError):  # BrokenOff, or the kernel says it
            http.send_request(ours, "GET", "/", {}).read()
    sender.join()


def say(sock: socket.socket, pieces: tuple[bytes, ...]) -> None:
    for each in pieces:
        sock.sendall(each)
    sock.shutdown(socket.SHUT_WR)


def send(sock: socket.socket, data: bytes) -> None:
    with sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # it had enough of us


def test_a_request_says_how_long_its_body_is() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    _, sent = answer(ok, body=b"abc")
    assert (
        sent == b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    _, sent = answer(ok, body=iter([b"ab", b"", b"c" * 16]))
    assert sent.endswith(b"\r\n\r\n2\r\nab\r\n10\r\n" + b"c" * 16 + b"\r\n0\r\n\r\n")


def test_a_refusal_that_comes_before_the_body_was_sent_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        theirs.close()
        found = http.send_request(ours, "POST", "/", {}, iter([b"x" * 100_000] * 10))
        assert (found.status, found.read()) == (413, b"big")
