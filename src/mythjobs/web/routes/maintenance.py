"""Routes for maintenance: check invariants, prune old jobs, replay with other settings, metrics."""

from __future__ import annotations

from typing import Any, Final, Literal

from litestar import Response, get, post
from litestar.params import JSONBody
from msgspec import Struct, field

from mythjobs.errors import BadRequest, NoSuchCommand, NoSuchMachine
from mythjobs.protocol import responses
from mythjobs.store.invariants.run import check as check_store
from mythjobs.web.routes.request import ApiRequest, get_disconnect, get_master
from mythjobs.web.routes.validation import check_time_ms
from mythjobs.web.security.metrics_access import METRICS_PATH
from mythjobs.web.server.openapi import error_responses

FinalState = Literal["succeeded", "failed", "cancelled"]
_MAX_VIOLATIONS: Final = 1000
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Prune(Struct, frozen=True, forbid_unknown_fields=True):
    """Selects jobs that ended before `before_ms` in one of `states` (default: all final ones)."""

    before_ms: int
    states: list[FinalState] = field(default_factory=list)


class WhatIfSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Changed settings for a replay: keys of machines and commands by name, semaphore sizes."""

    machines: dict[str, dict[str, object]] = field(default_factory=dict)
    commands: dict[str, dict[str, object]] = field(default_factory=dict)
    semaphores: dict[str, int] = field(default_factory=dict)


@get("/check", summary="Check the invariants of the store", responses=error_responses())
async def check_invariants(request: ApiRequest) -> responses.Checked:
    found = await get_master(request).read_long(check_store)
    return {
        "violations": [
            {"invariant": each.invariant, "job": each.job_id, "sentence": each.sentence}
            for each in found[:_MAX_VIOLATIONS]
        ],
        "count": len(found),
    }


@post(
    "/jobs/prune",
    status_code=200,
    summary="Delete old ended jobs with their output",
    responses=error_responses(),
)
async def prune_jobs(request: ApiRequest, data: JSONBody[Prune]) -> responses.Pruned:
    """Delete slices of jobs, one per transaction, until done or the client disconnects."""
    before_ms = check_time_ms(data.before_ms, "before_ms")
    assert before_ms is not None
    disconnected = get_disconnect(request)
    retention = get_master(request).retention
    return {"jobs": await retention.prune(before_ms, data.states, disconnected.done)}


@post(
    "/what-if",
    status_code=200,
    summary="Replay the last week's jobs with changed settings",
    responses=error_responses(NoSuchMachine, NoSuchCommand),
)
async def replay_jobs(request: ApiRequest, data: JSONBody[WhatIfSettings]) -> responses.WhatIf:
    if not (data.machines or data.commands or data.semaphores):
        raise BadRequest("no settings to change; give machines, commands or semaphores")
    table = {
        "machines": data.machines,
        "commands": data.commands,
        "semaphores": data.semaphores,
    }
    return await get_master(request).what_if(table)


@get(METRICS_PATH, include_in_schema=False)
async def get_metrics(request: ApiRequest) -> Response[bytes]:
    """Return metrics for Prometheus. Its path is not below that of the versioned API."""
    text = await get_master(request).metrics.read()
    return Response(text, media_type=_METRICS_TYPE)


ROUTES: Final[list[Any]] = [check_invariants, prune_jobs, replay_jobs]
