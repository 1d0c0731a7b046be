"""Error responses of the API (`{code, message, exit}` and a status), and ASGI types."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    ValidationException,
)

from mythjobs.config.os_errors import explain_os_error, is_disk_error
from mythjobs.errors import MythJobsError

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AnyRequest = Request[Any, Any, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# A rejected body of this size takes the master about a tenth of a second.
MAX_DISCARDED_BYTES: Final = 128 * 2**20
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class RequestRejected(Exception):
    """Raised to answer a request with an error before or outside the routes of the API."""

    def __init__(self, status: int, code: str, sentence: str, exit_code: int = 2) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.exit_code = exit_code


class ErrorBody(msgspec.Struct, frozen=True):
    """Body of error responses. code: stable, for programs. message: for people. exit: exit code
    of the command line."""

    code: str
    message: str
    exit: int


def encode_error(code: str, sentence: str, exit_code: int) -> bytes:
    return _encode(ErrorBody(code, sentence, exit_code))


async def send_rejection(
    scope: Scope, send: Send, rejection: RequestRejected, unread: Receive | None = None
) -> None:
    """Send an error response and close the connection.

    The rest of the request is not read, unless `unread` is given: that is called until the body
    has ended, because a close with unread data resets the connection, and a client that reads
    only after it has sent its body then gets no response (RFC 9112 §9.6).
    """
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = encode_error(rejection.code, rejection.sentence, rejection.exit_code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if rejection.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": f"{kind}.start", "status": rejection.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": unread is not None})
    if unread is not None:
        await discard_body(unread)
        await send({"type": f"{kind}.body", "body": b"", "more_body": False})


async def discard_body(receive: Receive) -> None:
    """Read the rest of a body, up to MAX_DISCARDED_BYTES, or until the client disconnects."""
    left = MAX_DISCARDED_BYTES
    while left > 0:
        event = await receive()
        left -= len(event.get("body", b""))
        if not event.get("more_body"):
            return


def handle_mythjobs_error(_: AnyRequest, error: MythJobsError) -> Response[ErrorBody]:
    return _make_response(error.http, error.code, error.sentence, error.exit_code)


def handle_rejection(_: AnyRequest, rejection: RequestRejected) -> Response[ErrorBody]:
    response = _make_response(
        rejection.status, rejection.code, rejection.sentence, rejection.exit_code
    )
    response.set_header("connection", "close")  # do not wait for the rest of the body
    return response


def handle_decode_error(_: AnyRequest, error: msgspec.DecodeError) -> Response[ErrorBody]:
    """Answer a body that is invalid JSON or has a wrong field, which msgspec names."""
    return _make_response(400, "bad_request", str(error).replace(" - at `$.", " - at `"), 2)


def handle_validation_error(_: AnyRequest, error: ValidationException) -> Response[ErrorBody]:
    """Answer a missing or wrongly typed query or path parameter, or a missing body."""
    extra = error.extra if isinstance(error.extra, list) else []
    if any(each.get("key") == "data" for each in extra):
        return _make_response(400, "bad_request", "the body is missing; send JSON", 2)
    parts = [f"{each.get('key', 'query')}: {each['message']}" for each in extra]
    return _make_response(400, "bad_request", "; ".join(parts) or error.detail, 2)


def handle_truncated_body(
    request: AnyRequest, error: InternalServerException
) -> Response[ErrorBody]:
    """Answer a body that ends early, for which Litestar raises InternalServerException."""
    if not request.scope["state"]["connection"].disconnected.done():
        return handle_unexpected_error(request, error)
    return _make_response(400, "bad_request", "the body is incomplete", 2)


def handle_http_exception(request: AnyRequest, error: HTTPException) -> Response[ErrorBody]:
    if error.status_code == 404:
        sentence = f"no route matches {request.scope['path']}"
    else:
        sentence = f"{request.scope['method']} {request.scope['path']}: {error.detail}"
    code = _CODES.get(error.status_code, "bad_request")
    if error.status_code >= 500:
        return handle_unexpected_error(request, error)
    response = _make_response(error.status_code, code, sentence, 2)
    response.headers.update(error.headers or {})
    if allow := response.headers.get("allow"):  # with 405 (RFC 9110 §15.5.6)
        response.headers["allow"] = ", ".join(sorted(with_head(allow.split(", "))))
    return response


def with_head(methods: Collection[str]) -> set[str]:
    """Return the methods that a path answers: HEAD wherever it answers GET."""
    return {*methods, *(["HEAD"] if "GET" in methods else [])}


def handle_os_error(request: AnyRequest, error: OSError) -> Response[ErrorBody]:
    """Answer a request for which the master could not write a file."""
    if not is_disk_error(error):
        return handle_unexpected_error(request, error)
    root = request.app.state.master.state_dir.root
    return handle_mythjobs_error(request, explain_os_error(error, root))


def handle_unexpected_error(request: AnyRequest, error: Exception) -> Response[ErrorBody]:
    """Answer an unexpected exception: the client gets one sentence, the log the traceback."""
    return Response(_log_unexpected_error(request.scope, error), status_code=500)


def encode_unexpected_error(scope: Scope, error: Exception) -> bytes:
    return _encode(_log_unexpected_error(scope, error))


def _log_unexpected_error(scope: Any, error: Exception) -> ErrorBody:
    log.error("%s %s", scope["method"], scope["path"], exc_info=error)
    sentence = f"internal error in the master ({type(error).__name__}); see its log"
    return ErrorBody("internal", sentence, os.EX_SOFTWARE)


def _make_response(status: int, code: str, sentence: str, exit_code: int) -> Response[ErrorBody]:
    return Response(ErrorBody(code, sentence, exit_code), status_code=status)
