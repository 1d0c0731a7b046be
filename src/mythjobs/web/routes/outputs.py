"""Route for a job's output: raw bytes from an offset, followed live on request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from litestar import get
from litestar.datastructures import ResponseHeader
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse

from mythjobs.errors import BadRequest, MythJobsError, NoSuchJob
from mythjobs.master.output.reader import RequestedOutput
from mythjobs.protocol.output_frames import MEDIA_TYPE as FRAMES
from mythjobs.web.routes.request import ApiRequest, get_master
from mythjobs.web.routes.validation import check_job_id, check_range
from mythjobs.web.server.errors import Receive, Send
from mythjobs.web.server.openapi import BytesOperation, error_responses

_BYTES: Final = "application/octet-stream"
_MAX_OFFSET: Final = 2**63 - 1
_MAX_ATTEMPT_NUMBER: Final = 2**31 - 1
_MAX_LINES: Final = 1_000_000
log = logging.getLogger(__name__)


class OutputResponse(ASGIResponse):
    """Response that streams job output. An error or a disconnect of the client truncates it."""

    def __init__(self, reading: RequestedOutput, media_type: str = _BYTES) -> None:
        headers = {"x-attempt": str(reading.n)}
        if reading.dropped is not None:
            headers["x-dropped"] = str(reading.dropped)
        if reading.length is not None:
            headers["content-length"] = str(reading.length)
        if reading.end is not None:
            headers["x-end"] = str(reading.end)
        super().__init__(media_type=media_type, headers=headers)
        self._chunks = reading.chunks

    # Do not let Litestar set Content-Length to 0. A body without this header is sent in chunks, and
    # the last chunk tells the client that the body is complete.
    _should_set_content_length = False

    async def send_body(self, send: Send, receive: Receive) -> None:  # type: ignore[override]
        sending = asyncio.create_task(_send_chunks(self._chunks, send))
        leaving = asyncio.create_task(_wait_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.wait((sending, leaving))
        if not sending.cancelled() and (error := sending.exception()):
            if not isinstance(error, MythJobsError):
                raise error
            # The status is sent already, so the client notices the error only by the missing last
            # chunk.
            log.warning("output response truncated: %s", error.sentence)


async def _send_chunks(chunks: AsyncGenerator[bytes, None], send: Send) -> None:
    async with aclosing(chunks):
        async for data in chunks:
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


@get(
    "/jobs/{job_id:int}/output",
    summary="Read a job's output",
    media_type=_BYTES,
    operation_class=BytesOperation,
    response_description="The bytes",
    responses=error_responses(NoSuchJob),
    response_headers=[
        ResponseHeader("X-Attempt", documentation_only=True, description="The attempt's number"),
        ResponseHeader(
            "X-Dropped",
            documentation_only=True,
            description="Number of bytes not kept; absent before the end of the attempt",
        ),
        ResponseHeader(
            "X-End",
            documentation_only=True,
            description="With `lines`: position in the stream after these lines, for `offset`",
        ),
    ],
)
async def read_output(
    request: ApiRequest,
    job_id: FromPath[int],
    stream: FromQuery[int] = 1,
    offset: FromQuery[int] = 0,
    attempt: FromQuery[int | None] = None,
    follow: FromQuery[bool] = False,
    lines: FromQuery[int | None] = None,
    framed: FromQuery[bool] = False,
) -> OutputResponse:
    if stream not in (1, 2):
        raise BadRequest("stream: must be 1 (standard output) or 2 (standard error)")
    if not 0 <= offset <= _MAX_OFFSET:
        raise BadRequest("offset: must be 0 or more")
    if attempt is not None and not 1 <= attempt <= _MAX_ATTEMPT_NUMBER:
        raise BadRequest("attempt: must be 1 or more")
    outputs = get_master(request).outputs
    number = check_job_id(job_id)
    if lines is not None:
        check_range(lines, "lines", 0, _MAX_LINES)
        if follow or offset or framed:
            raise BadRequest(
                "lines: goes with neither follow, offset nor framed; follow from X-End"
            )
        return OutputResponse(await outputs.read_last_lines(number, attempt, stream, lines))
    reading = await outputs.read(number, attempt, stream, offset, follow=follow, framed=framed)
    return OutputResponse(reading, FRAMES if framed else _BYTES)


ROUTES: Final[list[Any]] = [read_output]
