"""Routes of upkeep: whether the store keeps its promises, what is old, what would be if."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct, field

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.store.invariants.run import check as check_store
from mythjobs.store.writes.prune import Slice
from mythjobs.web.routes.request import ApiRequest, gone_of, master_of
from mythjobs.web.routes.validation import instant
from mythjobs.web.server import schema

Over = Literal["succeeded", "failed", "cancelled"]
# So many jobs are looked at in one turn.
SLICE_JOBS: Final = 1000
_MOST_VIOLATIONS: Final = 1000


class Prune(Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs that ended before an instant, in one of these states; without states in any."""

    before_ms: int
    states: list[Over] = field(default_factory=list)


class WhatIf(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings to try: the tables of machines and of commands by name, sizes of semaphores."""

    machines: dict[str, dict[str, object]] = field(default_factory=dict)
    commands: dict[str, dict[str, object]] = field(default_factory=dict)
    semaphores: dict[str, int] = field(default_factory=dict)


@get("/check", summary="Look whether the store keeps its promises")
async def check(request: ApiRequest) -> schema.Checked:
    found = await master_of(request).read(check_store)
    return {
        "violations": [
            {"invariant": each.invariant, "job": each.job_id, "sentence": each.sentence}
            for each in found[:_MOST_VIOLATIONS]
        ],
        "count": len(found),
    }


@post("/jobs/prune", status_code=200, summary="Delete old jobs that are over, with their output")
async def prune(request: ApiRequest, data: JSONBody[Prune]) -> schema.Pruned:
    """Slice by slice, each a turn's part, as long as somebody waits for it."""
    before_ms = instant(data.before_ms, "before_ms")
    assert before_ms is not None
    master, gone = master_of(request), gone_of(request)
    states = list(data.states or Over.__args__)  # type: ignore[attr-defined]
    above: int | None = 0
    jobs = 0
    while above is not None and not gone.done():
        done: Slice = await master.ask(requests.PruneJobs(before_ms, states, above, SLICE_JOBS))
        await master.outputs.remove(done.attempts)
        jobs += done.jobs
        above = done.above
    return {"jobs": jobs}


@post("/what-if", status_code=200, summary="Replay the last week's jobs against changed settings")
async def what_if(request: ApiRequest, data: JSONBody[WhatIf]) -> schema.WhatIf:
    if not (data.machines or data.commands or data.semaphores):
        raise BadRequest("say what is to be changed: machines, commands or semaphores")
    table = {
        "machines": data.machines,
        "commands": data.commands,
        "semaphores": data.semaphores,
    }
    return cast(schema.WhatIf, await master_of(request).what_if(table))


ROUTES: Final[list[Any]] = [check, prune, what_if]
