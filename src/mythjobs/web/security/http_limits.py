"""HTTP connection with limits on time and header size, and with the peer's uid."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mythjobs.errors import Unreachable
from mythjobs.web.security.connection_limit import ConnectionLimit
from mythjobs.web.server.errors import encode_error

# The head of a request must arrive within one interval, its body at 1 kB/s or more. Intervals in
# which the master itself has paused reading do not count.
CHECK_INTERVAL_S: Final = 10.0
MIN_BYTES_PER_INTERVAL: Final = 10_000
MAX_HEAD_BYTES: Final = 32 * 1024
# Number of requests that a client may send without waiting for responses. Each takes 3 kB.
MAX_SENT_AHEAD: Final = 100
_BLANKS: Final = b" \t"  # what may surround the value of a header field (RFC 9110 §5.5)
_HEAD_TOO_LARGE: Final = f"the request's head is larger than {MAX_HEAD_BYTES // 1024} KiB"


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's HTTP connection, with limits for slow requests (slow loris) and large heads."""

    limit: ConnectionLimit  # set by the listener
    _is_counted = False
    _is_excess = False  # there are too many connections to answer requests of this one
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _received_bytes = 0
    # Received since the request began, or since the last part of its body: a head, or a trailer.
    _head_bytes = 0
    _piece_bytes = 0  # size of the data that is being parsed
    # First line of a request that offers another protocol and is parsed again without that.
    _repeated_line = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limit.open(self.loop.time())
        self._is_counted = True
        self._is_excess = self.limit.is_exceeded()
        if self.limit.is_far_exceeded():
            transport.abort()
        # Completes when the client disconnects.
        self.disconnected: asyncio.Future[None] = self.loop.create_future()
        # uvicorn copies this into the scope of each request and WebSocket.
        self.app_state: dict[str, Any] = {"connection": self}
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self.leave_limit()
        self.disconnected.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        self._piece_bytes = len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._reject(431, _HEAD_TOO_LARGE)
        elif self._timer is None and self.cycle is not None and self.cycle.response_complete:
            # A blank line, which may precede a request (RFC 9112 §2.2). uvicorn has taken it for
            # one, and waits without limit.
            self._start_timer()

    def _parse(self, data: bytes) -> None:
        """Parse data, and without its offer a request that offers a protocol other than WebSocket.

        Java's HTTP client and `curl --http2` offer HTTP/2 so. As the offer is not accepted, the
        body of the request follows (RFC 9110 §7.8), but the parser stops before it (issue 2722 of
        uvicorn, 124 of httptools).
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as upgrade:
                if not self._repeated_line:
                    self.handle_websocket_upgrade()
                    return
                head = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
                rest = data[upgrade.args[0] :]
                # The present parser takes no more data if this is the connection's last request.
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                data = b"\r\n".join([self._repeated_line, *head, b"\r\n"]) + rest
            except HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return

    def on_message_begin(self) -> None:
        self._repeated_line = b""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._cancel_timer()
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Header fields after a chunked body may be dropped (RFC 9110 §6.5.1). uvicorn adds them to
        # those of the head, which have been checked.
        if self._in_head:
            super().on_header(name, value.strip(_BLANKS))

    def on_body(self, body: bytes) -> None:
        self._head_bytes = -self._piece_bytes
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and not self._should_upgrade():
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method != b"CONNECT":
                self._repeated_line = b"%b %b HTTP/%b" % (method, self.url, version)
                return
        if len(self.pipeline) >= MAX_SENT_AHEAD:
            self.report("it sent too many requests without waiting for responses")
            self.transport.abort()
            raise ValueError  # ends the parsing of this connection
        if self._is_excess:
            sentence = self.limit.sentence
            self._reject(Unreachable.http, sentence, Unreachable.code, Unreachable.exit_code)
            raise ValueError(sentence)  # ends the parsing of this connection
        # A whole head may arrive in one piece, with a part of the body.
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES:
            lines = (len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + sum(lines) > MAX_HEAD_BYTES:
                self._reject(431, _HEAD_TOO_LARGE)
                raise ValueError(_HEAD_TOO_LARGE)  # ends the parsing of this connection
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._repeated_line:
            return
        self._cancel_timer()
        self._in_head = True
        super().on_message_complete()

    def leave_limit(self) -> None:
        """Count this connection no longer. Called for the link of an agent, too."""
        if self._is_counted:
            self._is_counted = False
            self.limit.close()

    def send_400_response(self, msg: str) -> None:
        """Answer data that is not HTTP, with an error in JSON instead of uvicorn's plain text."""
        self._reject(400, msg)

    def _reject(
        self, status: int, sentence: str, code: str = "bad_request", exit_code: int = 2
    ) -> None:
        """Send an error response before the request is complete, and close the connection.

        Nothing is sent on a connection that is closing, because it has got its response.
        """
        if self.transport.is_closing():
            return
        self.report(sentence)
        body = encode_error(code, sentence, exit_code)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

    # Called with a cause each time that something is refused; None if nobody wants to know.
    on_refused: Callable[[str], None] | None = None

    def report(self, cause: str) -> None:
        """Record that a request or the connection is refused."""
        if self.on_refused is not None:
            self.on_refused(cause)

    def identify(self) -> None:
        """Record that the other side is known, or that the connection has ended."""

    def _start_timer(self) -> None:
        self._received_bytes = 0
        self._timer = self.loop.call_later(CHECK_INTERVAL_S, self._check_progress)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self) -> None:
        self._timer = None
        if self._in_head or (
            self._received_bytes < MIN_BYTES_PER_INTERVAL and not self.flow.read_paused
        ):
            self.report("its request arrived too slowly")
            # With TLS close() waits some seconds for the other side.
            self.transport.abort()
        else:
            self._start_timer()


class LocalConnection(LimitedConnection):
    """Connection through the Unix socket, with the peer's uid from the kernel."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer: socket.socket = transport.get_extra_info("socket")
        packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(packed)
        super().connection_made(transport)
        self.app_state["peer_uid"] = uid


_UCRED: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
