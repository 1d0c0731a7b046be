"""Access control for connections from the network: agents and machines that join, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mythjobs.web.security.access import AccessHeaders, limit_body
from mythjobs.web.security.http_limits import LimitedConnection
from mythjobs.web.server.errors import (
    App,
    Receive,
    RequestRejected,
    Scope,
    Send,
    send_rejection,
)

JOIN_PATH: Final = "/api/v1/join"
LINK_PATH: Final = "/link"
MAX_JOIN_BYTES: Final = 4096
# A connection that has not identified itself is closed after this time, whatever it does: each may
# keep one of few places (strangers.py). An agent needs a second, and so does a request of a join.
STRANGER_S: Final = 30.0


class NetworkAccess:
    """ASGI middleware that admits the requests which a machine needs, from any address.

    They carry their own proof: a join token, six words that a person compares, or the signature
    of the link's handshake. Metrics can be read with a token of their own.
    """

    def __init__(
        self,
        app: App,
        admits_metrics: Callable[[Scope, AccessHeaders], bool] = lambda scope, headers: False,
    ) -> None:
        self._app = app
        self._admits_metrics = admits_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: NetworkConnection = scope["state"]["connection"]
        try:
            if self._admits_metrics(scope, AccessHeaders(scope["headers"])):
                connection.identify()
            else:
                _check(scope)
        except RequestRejected as rejection:
            connection.report(rejection.sentence)
            await send_rejection(scope, send, rejection)
            return
        scope["state"]["submitter"] = ""
        await self._app(scope, limit_body(receive, MAX_JOIN_BYTES), send)


def _check(scope: Scope) -> None:
    path = scope["path"]
    is_link = scope["type"] == "websocket" and path == LINK_PATH
    if not is_link and not (scope["type"] == "http" and path.startswith(f"{JOIN_PATH}/")):
        raise RequestRejected(
            403,
            "not_allowed",
            "only agents can use this port from the network; use mythjobs on the master's machine",
            77,
        )
    headers = AccessHeaders(scope["headers"])
    # Agents are no browsers. Without this check a web page could make a user's browser join.
    if headers.origin is not None or headers.site is not None:
        raise RequestRejected(403, "foreign_origin", "requests of web pages are rejected")
    if headers.encoded:
        raise RequestRejected(415, "encoded", "Content-Encoding is not supported")
    if headers.length > MAX_JOIN_BYTES:
        raise RequestRejected(413, "too_large", f"the body is larger than {MAX_JOIN_BYTES} bytes")


class NetworkConnection(LimitedConnection):
    """Connection with TLS. It counts as a stranger's until `identify()` is called, or it closes."""

    fingerprint = ""  # SHA-256 of the certificate that this connection was given, in hex
    is_unused = True  # the TLS handshake has not been completed
    on_identified: Callable[[], None] | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.is_unused = False
        self._deadline = self.loop.call_later(STRANGER_S, self._end)
        super().connection_made(transport)
        self.app_state["fingerprint"] = self.fingerprint

    def connection_lost(self, exc: Exception | None) -> None:
        self.identify()
        super().connection_lost(exc)

    def identify(self) -> None:
        """Call `on_identified`, the first time only."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        call, self.on_identified = self.on_identified, None
        if call is not None:
            call()

    def _end(self) -> None:
        self.report(f"it has not identified itself for {STRANGER_S:g} s")
        self.transport.abort()
