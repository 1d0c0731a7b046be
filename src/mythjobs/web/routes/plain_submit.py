"""Submit of one job as a plain ASGI application, which Litestar's routing would double in cost."""

from __future__ import annotations

from typing import Final

import msgspec

from mythjobs.errors import MythJobsError
from mythjobs.master.requests import SubmitJob
from mythjobs.master.service import Master
from mythjobs.protocol.requests import Submit, Submitted
from mythjobs.web.routes.validation import check_submit
from mythjobs.web.server.errors import (
    App,
    Event,
    Receive,
    RequestRejected,
    Scope,
    Send,
    encode_error,
    encode_unexpected_error,
    send_rejection,
)

PATH: Final = "/api/v1/jobs"
_JSON: Final = (b"content-type", b"application/json")
_decode: Final = msgspec.json.Decoder(Submit).decode
_encode: Final = msgspec.json.Encoder().encode


class PlainSubmit:
    """ASGI application that answers `POST /jobs`, and passes everything else to `rest`.

    The route of Litestar in `jobs.py` describes the request in the OpenAPI document, and answers
    a body that is invalid, or not here as a whole. So an error has the same text from both.
    Litestar takes 280 µs before it reads a body, on an idle system, whose caches are cold.
    """

    def __init__(self, master: Master, rest: App) -> None:
        self._master = master
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH or scope["method"] != "POST" or scope["query_string"]:
            await self._rest(scope, receive, send)
            return
        try:
            event = await receive()
        except RequestRejected as rejection:  # the body is too large
            await send_rejection(scope, send, rejection)
            return
        try:
            # An incomplete body, or none, is not valid JSON.
            submit = _decode(event.get("body", b""))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            submit = None
        if submit is None or event.get("more_body"):
            await self._rest(scope, _repeat(event, receive), send)
            return
        status, body = await self._submit(scope, submit)
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _submit(self, scope: Scope, submit: Submit) -> tuple[int, bytes]:
        """Submit a job; return status and body of the response."""
        try:
            request = SubmitJob(check_submit(submit), scope["state"]["submitter"])
            submitted: Submitted = await self._master.execute(request)
        except MythJobsError as error:
            return error.http, encode_error(error.code, error.sentence, error.exit_code)
        except Exception as error:
            return 500, encode_unexpected_error(scope, error)
        return 201 if submitted.new else 200, _encode(submitted)


def _repeat(event: Event, receive: Receive) -> Receive:
    """Return a function that returns `event` first, then what `receive` returns."""
    waiting = [event]

    async def receive_again() -> Event:
        return waiting.pop() if waiting else await receive()

    return receive_again
