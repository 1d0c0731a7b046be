"""Access control: token, host, origin, user and body size, checked before a body is read."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from mythjobs.config.state import lookup_user_name
from mythjobs.protocol.requests import MAX_BATCH_BYTES, MAX_REQUEST_BYTES
from mythjobs.web.server.errors import (
    MAX_DISCARDED_BYTES,
    App,
    Event,
    Receive,
    RequestRejected,
    Scope,
    Send,
    discard_body,
    send_rejection,
)

BATCHES_PATH: Final = "/api/v1/batches"
# Values of Sec-Fetch-Site with which browsers mark requests from pages of other origins.
_CROSS_ORIGIN_SITES: Final = (b"cross-site", b"same-site")


class AccessControl:
    """ASGI middleware that admits requests of one listener.

    On the TCP port (with `token`) a request needs the Bearer token and a Host header that can
    only name this machine, which prevents DNS rebinding by web pages. On the Unix socket
    (`token` None) the peer's uid, from the kernel, must be the owner's or root's.

    admits_metrics: returns whether a request is one for metrics with the token for that.
    """

    def __init__(
        self,
        app: App,
        token: str | None,
        admits_metrics: Callable[[Scope, AccessHeaders], bool] = lambda scope, headers: False,
    ) -> None:
        self._app = app
        self._admits_metrics = admits_metrics
        self._token = None if token is None else token.encode()
        self._owner_uid = os.getuid()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = AccessHeaders(scope["headers"])
        try:
            self._check(scope, headers)
            max_bytes = MAX_BATCH_BYTES if scope["path"] == BATCHES_PATH else MAX_REQUEST_BYTES
            if headers.length > max_bytes:
                raise _too_large(max_bytes)
        except RequestRejected as rejection:
            unread = receive if scope["type"] == "http" and headers.sends_body() else None
            with suppress(asyncio.CancelledError):  # the master stops
                await send_rejection(scope, send, rejection, unread)
            return
        if headers.chunked:
            # Count the bytes of a chunked body; for others the HTTP parser enforces Content-Length.
            receive = limit_body(receive, max_bytes, is_read_to_end=True)
        try:
            await self._app(scope, receive, send)
        except (Exception, asyncio.CancelledError):
            if not scope["state"]["connection"].transport.is_closing():
                raise
            # Raise nothing, to avoid a traceback in the log: the client disconnected during the
            # response, or the master stops.

    def _check(self, scope: Scope, headers: AccessHeaders) -> None:
        if self._token is None:
            uid = scope["state"]["peer_uid"]
            if uid not in (self._owner_uid, 0):
                owner = lookup_user_name(self._owner_uid)
                raise RequestRejected(
                    403, "not_allowed", f"this socket belongs to {owner}; connect as that user", 77
                )
        else:
            uid = self._owner_uid
            if not _is_local(headers.host):
                raise RequestRejected(
                    421, "misdirected", "Host must be localhost or a loopback address", 77
                )
            if not hmac.compare_digest(headers.bearer, self._token) and not self._admits_metrics(
                scope, headers
            ):
                raise RequestRejected(
                    401,
                    "not_allowed",
                    'missing or wrong token; send "Authorization: Bearer TOKEN" with the content '
                    "of the file `token` in the state directory",
                    77,
                )
        scope["state"]["submitter"] = _cached_user_name(uid)
        if headers.encoded:
            raise RequestRejected(
                415, "encoded", "Content-Encoding is not supported; send the body uncompressed"
            )
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
            if not headers.is_same_origin():
                raise RequestRejected(
                    403, "foreign_origin", "requests from web pages of other origins are rejected"
                )


class AccessHeaders:
    """Request headers that AccessControl checks. A header that occurs twice counts as empty."""

    __slots__ = (
        "authorization",
        "chunked",
        "encoded",
        "expects_continue",
        "host",
        "length",
        "origin",
        "site",
    )

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.authorization = self.host = b""
        self.origin = self.site = None
        self.chunked = self.encoded = self.expects_continue = False
        self.length = 0
        seen: set[bytes] = set()
        for name, value in raw:
            if (parse := _HEADER_PARSERS.get(name)) is not None:
                parse(self, value if name not in seen else b"")
                seen.add(name)

    @property
    def bearer(self) -> bytes:
        """Bearer token; empty for other schemes. Scheme names ignore case (RFC 9110 §11.1)."""
        scheme, _, token = self.authorization.partition(b" ")
        return token.strip(b" ") if scheme.lower() == b"bearer" else b""

    def sends_body(self) -> bool:
        """Return whether the client sends a body without waiting, and one that can be discarded."""
        return (
            self.chunked or 0 < self.length <= MAX_DISCARDED_BYTES
        ) and not self.expects_continue

    def is_same_origin(self) -> bool:
        """Return whether the request comes from a page of this origin, or not from a browser.

        Clients other than browsers send neither Origin nor Sec-Fetch-Site.
        """
        if self.site in _CROSS_ORIGIN_SITES:
            return False
        if self.origin is None:
            return True
        scheme, _, host = self.origin.partition(b"://")
        return scheme in (b"http", b"https") and host == self.host and _is_local(host)


def _set_length(headers: AccessHeaders, value: bytes) -> None:
    # 20 digits are too many bytes already, and int() rejects thousands of digits.
    digits = value.lstrip(b"0")[:20]
    headers.length = int(digits) if digits.isdigit() else 0


def _setter(
    name: str, to: Callable[[bytes], Any] = bytes
) -> Callable[[AccessHeaders, bytes], None]:
    return lambda headers, value: setattr(headers, name, to(value))


_HEADER_PARSERS: Final[dict[bytes, Callable[[AccessHeaders, bytes], None]]] = {
    b"host": _setter("host"),
    b"authorization": _setter("authorization"),
    b"origin": _setter("origin"),
    b"sec-fetch-site": _setter("site"),
    b"content-encoding": _setter("encoded", lambda _: True),
    b"transfer-encoding": _setter("chunked", lambda _: True),
    b"content-length": _set_length,
    b"expect": _setter("expects_continue", lambda _: True),
}


@lru_cache(64)
def _is_local(host: bytes) -> bool:
    """Return whether the value of a Host header, with or without port, can only be this machine."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    else:
        name = name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


_cached_user_name = lru_cache(64)(lookup_user_name)


def _too_large(most: int) -> RequestRejected:
    return RequestRejected(413, "too_large", f"the body is larger than {most // 2**20} MiB")


def limit_body(receive: Receive, most: int, *, is_read_to_end: bool = False) -> Receive:
    """Return `receive`, raising RequestRejected once a body has more than `most` bytes.

    is_read_to_end: read the rest before, for clients that send the whole body first.
    """
    left = most

    async def counted() -> Event:
        nonlocal left
        event = await receive()
        left -= len(event.get("body", b""))
        if left < 0:
            if is_read_to_end and event.get("more_body"):
                await discard_body(receive)
            raise _too_large(most)
        return event

    return counted
