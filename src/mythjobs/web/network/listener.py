"""HTTP and WebSocket listener: uvicorn's protocols in the master's event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any, Final, cast

import uvicorn
from uvicorn.server import ServerState

from mythjobs.protocol.messages import MAX_FRAME_BYTES
from mythjobs.web.network.link_socket import LinkSocket
from mythjobs.web.network.sockets import BACKLOG
from mythjobs.web.security.connection_limit import ConnectionLimit
from mythjobs.web.security.http_limits import LimitedConnection
from mythjobs.web.server.errors import App

# Largest WebSocket frame that uvicorn accepts: slightly more than MAX_FRAME_BYTES, which is checked
# when the frame is decoded.
_MAX_WEBSOCKET_BYTES: Final = MAX_FRAME_BYTES + 4096
# A connection that the master closes must take its last response, and end TLS, in this time. Until
# then all that it sends is decrypted and dropped.
TLS_CLOSE_TIMEOUT_S: Final = 5.0
# Messages of uvicorn about requests that are answered, or reported, here. It logs each time,
# without limit, and some with a traceback.
_UNLOGGED: Final = {
    "ASGI callable returned without completing handshake.",
    "Invalid UTF-8 sequence received from client.",
}
# Headers for browsers, on every response of the TCP port: no response is a web page, and no page
# may embed one.
_SECURITY_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _UNLOGGED)


class Listener:
    """Serves HTTP and WebSocket connections on one listening socket.

    Replaces uvicorn's `Server`, which wakes up ten times a second, installs signal handlers and
    exits the program if it cannot start.
    """

    def __init__(
        self,
        app: App,
        connection: type[LimitedConnection],
        *,
        browser_headers: bool,
        limit: ConnectionLimit | None = None,
    ) -> None:
        self._limit = limit or ConnectionLimit()
        self._config = uvicorn.Config(
            cast(Any, app),
            http=connection,
            ws=LinkSocket,
            ws_max_size=_MAX_WEBSOCKET_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._state = ServerState()
        if browser_headers:
            self._state.default_headers = _SECURITY_HEADERS
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Accept connections on a socket that listens."""
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self.make_protocol, sock=sock, backlog=BACKLOG
            )
        else:
            self._server = await loop.create_server(self.make_protocol, sock=sock, backlog=BACKLOG)

    def make_protocol(self) -> LimitedConnection:
        make = cast(type[LimitedConnection], self._config.http_protocol_class)
        loop = asyncio.get_running_loop()
        protocol = make(config=self._config, server_state=self._state, app_state={}, _loop=loop)
        protocol.limit = self._limit
        return protocol

    async def serve(
        self,
        protocol: LimitedConnection,
        connection: socket.socket,
        context: ssl.SSLContext | None = None,
        handshake_timeout_s: float | None = None,
    ) -> None:
        """Serve a connection that was accepted elsewhere, with TLS if `context` is given.

        Returns after the TLS handshake. Raises OSError if it fails.
        """
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=context,
            ssl_handshake_timeout=handshake_timeout_s,
            ssl_shutdown_timeout=None if context is None else TLS_CLOSE_TIMEOUT_S,
        )

    def stop_accepting(self) -> None:
        """Close the listening socket. Open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort_connections(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def close(self, grace_s: float) -> None:
        """Stop accepting connections; abort responses that do not finish within `grace_s`."""
        self.stop_accepting()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = set(self._state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        self.abort_connections()
        late = set(self._state.tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
