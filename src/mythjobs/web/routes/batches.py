"""Routes for batches: many jobs of one command, streamed to a file before they are stored."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from litestar import get, post
from litestar.params import FromPath, FromQuery

from mythjobs.config.files import open_private
from mythjobs.errors import BadRequest, Conflict, NoSuchCommand, NoSuchJob, StoreFull
from mythjobs.master import batch_submit
from mythjobs.protocol import responses
from mythjobs.protocol.requests import BatchSubmit
from mythjobs.store.queries.batches import read_batch
from mythjobs.web.routes.request import ApiRequest, get_disconnect, get_master, get_submitter
from mythjobs.web.routes.validation import check_batch_id, check_time_ms, check_wait_s
from mythjobs.web.server.openapi import LinesOperation, error_responses

_NUMBER: Final = re.compile("[0-9]{1,18}")


@post(
    "/batches",
    summary="Submit one job per line of the body, each a JSON object of arguments",
    operation_class=LinesOperation,
    responses=error_responses(NoSuchCommand, Conflict, StoreFull),
)
async def submit_batch(
    request: ApiRequest,
    command: FromQuery[str],
    priority: FromQuery[int] = 0,
    subject: FromQuery[str | None] = None,
    hold: FromQuery[bool] = False,
    comment: FromQuery[str] = "",
    machine: FromQuery[str] = "",
    prefer: FromQuery[str] = "",
    label: FromQuery[list[str] | None] = None,
    semaphore: FromQuery[list[str] | None] = None,
    limit: FromQuery[list[str] | None] = None,
    not_before_ms: FromQuery[int | None] = None,
    deadline_ms: FromQuery[int | None] = None,
    await_machine: FromQuery[bool] = False,
) -> responses.SubmittedBatch:
    master = get_master(request)
    header = BatchSubmit(
        command,
        priority,
        subject,
        hold,
        comment,
        machine,
        prefer,
        label or [],
        _parse_semaphores(semaphore or []),
        _parse_pairs(limit or [], "limit"),
        check_time_ms(not_before_ms, "not_before_ms"),
        check_time_ms(deadline_ms, "deadline_ms"),
        await_machine,
    )
    path = master.state_dir.uploads / f"{secrets.token_hex(8)}.jsonl"
    try:
        # No fsync is needed: after a power failure the client has no answer and must send again.
        with open(path, "xb", opener=open_private) as file:
            async for piece in request.stream():
                file.write(piece)
        loaded = await batch_submit.submit_batch(master, header, path, get_submitter(request))
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    finally:
        path.unlink(missing_ok=True)
    return loaded


@get(
    "/batches/{batch_id:int}",
    summary="Show a batch; with `wait`, once all its jobs have ended",
    responses=error_responses(NoSuchJob),
)
async def show_batch(
    request: ApiRequest, batch_id: FromPath[int], wait: FromQuery[float | None] = None
) -> responses.Batch:
    master = get_master(request)
    if wait is None:
        return await master.read(read_batch, check_batch_id(batch_id))
    wait_s, disconnected = check_wait_s(wait), get_disconnect(request)
    return await master.wait_batch(check_batch_id(batch_id), wait_s, disconnected)


def _parse_pairs(listed: list[str], name: str) -> dict[str, str | int]:
    """Parse NAME=VALUE items such as `cpu=1h` and `nice=10`; digits become an int."""
    found: dict[str, str | int] = {}
    for each in listed:
        key, equals, value = each.partition("=")
        if not (key and equals and value):
            raise BadRequest(f'{name}: "{each}" does not have the form NAME=VALUE')
        if key in found:
            raise BadRequest(f'{name}: "{key}" is given twice')
        found[key] = int(value) if _NUMBER.fullmatch(value) else value
    return found


def _parse_semaphores(listed: list[str]) -> dict[str, int]:
    units = _parse_pairs(listed, "semaphore")
    for name, value in units.items():
        if not isinstance(value, int):
            raise BadRequest(f'semaphore: "{name}={value}": the number of units must be an integer')
    return cast(dict[str, int], units)


def remove_stale_uploads(uploads: Path) -> None:
    """Delete the batch files of requests that a killed master did not finish."""
    uploads.mkdir(mode=0o700, exist_ok=True)
    for path in uploads.iterdir():
        with suppress(FileNotFoundError):
            path.unlink()


ROUTES: Final[list[Any]] = [submit_batch, show_batch]
