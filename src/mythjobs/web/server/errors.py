"""Every error as the API tells it: `{code, message, exit}`, and the status that belongs to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    ValidationException,
)

from mythjobs.errors import MythJobsError

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class RequestRejected(Exception):
    """An answer that is given before or outside of the application's routes."""

    def __init__(self, status: int, code: str, sentence: str, exit_code: int = 2) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.exit_code = exit_code


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong: a stable word, a sentence, and what the command line exits with."""

    code: str
    message: str
    exit: int


def encode_error(code: str, sentence: str, exit_code: int) -> bytes:
    return _encode(ErrorBody(code, sentence, exit_code))


async def send_rejection(scope: Scope, send: Send, refusal: RequestRejected) -> None:
    """Answer with an error and close: what may come yet of the request is not read."""
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = encode_error(refusal.code, refusal.sentence, refusal.exit_code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


def handle_mythjobs_error(_: Request[Any, Any, Any], error: MythJobsError) -> Response[ErrorBody]:
    return _make_response(error.http, error.code, error.sentence, error.exit_code)


def handle_rejection(_: Request[Any, Any, Any], refusal: RequestRejected) -> Response[ErrorBody]:
    answer = _make_response(refusal.status, refusal.code, refusal.sentence, refusal.exit_code)
    answer.set_header("connection", "close")  # what is left of the body is not waited for
    return answer


def handle_decode_error(
    _: Request[Any, Any, Any], error: msgspec.DecodeError
) -> Response[ErrorBody]:
    """A body that is not JSON, or not what this request takes. msgspec names the field."""
    return _make_response(400, "bad_request", str(error).replace(" - at `$.", " - at `"), 2)


def handle_validation_error(
    _: Request[Any, Any, Any], error: ValidationException
) -> Response[ErrorBody]:
    """A query or path parameter that is missing or of another type, or no body at all."""
    extra = error.extra if isinstance(error.extra, list) else []
    if any(each.get("key") == "data" for each in extra):
        return _make_response(400, "bad_request", "the body is missing; send JSON", 2)
    parts = [f"{each.get('key', 'query')}: {each['message']}" for each in extra]
    return _make_response(400, "bad_request", "; ".join(parts) or error.detail, 2)


def handle_truncated_body(
    request: Request[Any, Any, Any], error: InternalServerException
) -> Response[ErrorBody]:
    """What Litestar raises where a body ends early. Its asker is gone: nobody reads this."""
    if not request.scope["state"]["connection"].gone.done():
        return handle_unexpected_error(request, error)
    return _make_response(400, "bad_request", "the body is not whole", 2)


def handle_http_exception(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[ErrorBody]:
    if error.status_code == 404:
        sentence = f"there is nothing at {request.scope['path']}"
    else:
        sentence = f"{request.scope['method']} {request.scope['path']}: {error.detail}"
    code = _CODES.get(error.status_code, "bad_request")
    if error.status_code >= 500:
        return handle_unexpected_error(request, error)
    return _make_response(error.status_code, code, sentence, 2)


def handle_unexpected_error(
    request: Request[Any, Any, Any], error: Exception
) -> Response[ErrorBody]:
    """A bug of ours: the asker gets a sentence, the log a traceback."""
    log.error("%s %s", request.scope["method"], request.scope["path"], exc_info=error)
    sentence = f"the master failed at this request ({type(error).__name__}); its log says how"
    return _make_response(500, "internal", sentence, os.EX_SOFTWARE)


def _make_response(status: int, code: str, sentence: str, exit_code: int) -> Response[ErrorBody]:
    return Response(ErrorBody(code, sentence, exit_code), status_code=status)
