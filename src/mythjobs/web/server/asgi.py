"""ASGI in the few words that we use of it, and an answer outside of the application's routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mythjobs.web.server.errors import Refusal, body_of

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer with an error and close: what may come yet of the request is not read."""
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = body_of(refusal.code, refusal.sentence, refusal.exit_code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


async def gone(receive: Receive) -> None:
    """Wait until the other side has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
