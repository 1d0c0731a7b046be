"""Connection to a MythTV backend over its protocol: one socket, used by one thread."""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from mythjobs.errors import ProtocolError, Unreachable
from mythjobs.mythtv.protocol.frames import NEWEST, TOKENS, FrameDecoder, encode_frame

CONNECT_TIMEOUT_S: Final = 10.0
# The backend answers within milliseconds, and some refused requests never.
REQUEST_TIMEOUT_S: Final = 15.0
# A message is sent in one write: if its end does not follow, the beginning was no message.
_PART_TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 256 * 1024
_VERSION: Final = re.compile(r"[0-9]{1,6}")
# Monitors only listen, so a backend that lost its power is noticed by keepalive: 60 s.
_KEEPALIVE: Final = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)


class BackendConnection:
    """A socket after the version handshake. `version` is the protocol version of the backend.

    All methods raise Unreachable if the connection breaks or the backend does not answer in time,
    ProtocolError if it does not answer like a backend. After an error the connection is closed.
    """

    def __init__(
        self, sock: socket.socket, label: str, *, part_timeout_s: float = _PART_TIMEOUT_S
    ) -> None:
        self._sock = sock
        self._label = label
        self._part_timeout_s = part_timeout_s
        self._decoder = FrameDecoder()
        self._messages: deque[list[str]] = deque()
        # Until when a message of which a part has arrived must be complete.
        self._part_deadline_s: float | None = None
        self.version = NEWEST

    def __enter__(self) -> BackendConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def announce_monitor(self, name: str, mode: int) -> None:
        """Become a monitor, which does not keep the backend from shutting down."""
        command = f"ANN Monitor {name} {mode}"
        reply = self.request(command)
        if reply[0] != "OK":
            raise self._refused(f'answered "{" ".join(reply):.100}" to {command}')

    def request(self, *fields: str, timeout_s: float = REQUEST_TIMEOUT_S) -> list[str]:
        """Send one request and return the fields of its reply. Events that come in between are
        dropped, so a monitor must not use this.

        A request is sent after the reply to the one before, because the backend answers only the
        first of several. After a timeout the connection is closed: a late reply would be taken for
        that of the next request.
        """
        self._send(*fields)
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            # Events may arrive faster than they are passed over.
            message = self._receive(left_s) if left_s > 0 else None
            if message is None:
                raise self._lost(f"did not answer {fields[0].split()[0]} in {timeout_s:g} s")
            if message[0] != "BACKEND_MESSAGE":
                return message

    def receive_message(self, timeout_s: float | None) -> list[str] | None:
        """Return the next message; None if none came in time (None: wait for ever)."""
        return self._receive(timeout_s)

    def interrupt(self) -> None:
        """Make a waiting `receive_message()` of another thread fail at once."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more

    def close(self) -> None:
        """Say goodbye, which no backend answers, and close."""
        try:
            self._sock.settimeout(1.0)
            self._sock.sendall(encode_frame("DONE"))
        except OSError:
            pass  # the backend has closed the connection
        self._sock.close()

    def negotiate(self, version: int) -> int:
        """Offer a version. Return it if the backend accepts, else the backend's version; then the
        backend has closed the connection."""
        reply = self.request(f"MYTH_PROTO_VERSION {version} {TOKENS[version]}")
        if (
            len(reply) < 2 or reply[0] not in ("ACCEPT", "REJECT")
            or not _VERSION.fullmatch(reply[1])
        ):  # fmt: skip
            raise self._refused(
                f"answered {reply!r:.100} to the handshake; it is no MythTV backend"
            )
        if reply[0] == "REJECT" and int(reply[1]) == version:
            raise self._refused(f"refuses the token of protocol version {version}")
        self.version = int(reply[1])
        return self.version

    def _send(self, *fields: str) -> None:
        try:
            self._sock.settimeout(REQUEST_TIMEOUT_S)
            self._sock.sendall(encode_frame(*fields))
        except OSError as error:
            raise self._lost(f"cannot be reached ({error})") from error

    def _receive(self, timeout_s: float | None) -> list[str] | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._messages:
            limits = [each for each in (deadline, self._part_deadline_s) if each is not None]
            left_s = min(limits) - time.monotonic() if limits else None
            if left_s is None or left_s > 0:
                self._read(left_s)
            elif deadline is not None and time.monotonic() >= deadline:
                return None
            else:
                raise self._lost(
                    f"sent a part of a message, and no end in {self._part_timeout_s:g} s"
                )
        return self._messages.popleft()

    def _read(self, timeout_s: float | None) -> None:
        """Read what has arrived, or nothing in time."""
        try:
            self._sock.settimeout(timeout_s)
            data = self._sock.recv(_CHUNK_BYTES)
        except TimeoutError:
            return
        except OSError as error:
            raise self._lost(f"cannot be reached ({error})") from error
        if not data:
            raise self._lost("closed the connection")
        self._decode(data)

    def _decode(self, data: bytes) -> None:
        try:
            found = self._decoder.feed(data)
        except ProtocolError:
            self._sock.close()
            raise
        self._messages.extend(found)
        if not self._decoder.has_part:
            self._part_deadline_s = None
        elif found or self._part_deadline_s is None:
            self._part_deadline_s = time.monotonic() + self._part_timeout_s

    def _lost(self, what: str) -> Unreachable:
        self._sock.close()
        return Unreachable(f"the MythTV backend {self._label} {what}")

    def _refused(self, what: str) -> ProtocolError:
        self._sock.close()
        return ProtocolError(f"the MythTV backend {self._label} {what}")


def open_connection(
    host: str, port: int, *, timeout_s: float = CONNECT_TIMEOUT_S
) -> BackendConnection:
    """Connect and agree on a version. Raises Unreachable, ProtocolError.

    A backend of another version closes the connection after naming its version; the second
    connection uses that version.
    """
    connection, answer = _connect(host, port, NEWEST, timeout_s)
    if answer == NEWEST:
        return connection
    connection.close()
    if answer not in TOKENS:
        raise ProtocolError(
            f"the MythTV backend {host}:{port} speaks protocol version {answer}; known are "
            f"{_join(sorted(TOKENS))}"
        )
    connection, again = _connect(host, port, answer, timeout_s)
    if again != answer:
        connection.close()
        raise ProtocolError(
            f"the MythTV backend {host}:{port} named protocol version {answer}, then {again}"
        )
    return connection


def _connect(host: str, port: int, version: int, timeout_s: float) -> tuple[BackendConnection, int]:
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise Unreachable(
            f"cannot reach the MythTV backend {host}:{port} ({error.strerror or error}); is it "
            "running, and does it listen on this address?"
        ) from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    connection = BackendConnection(sock, f"{host}:{port}")
    return connection, connection.negotiate(version)


def _join(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))
