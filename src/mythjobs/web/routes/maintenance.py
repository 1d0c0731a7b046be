"""Routes of upkeep: whether the store keeps its promises, what is old, what would be if."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct, field

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.store.invariants.run import check as check_store
from mythjobs.store.writes.prune import PruneSlice
from mythjobs.web.routes.request import ApiRequest, get_disconnect, get_master
from mythjobs.web.routes.validation import check_time_ms
from mythjobs.web.server import schema

FinalState = Literal["succeeded", "failed", "cancelled"]
# So many jobs are looked at in one turn.
SLICE_JOBS: Final = 1000
_MAX_VIOLATIONS: Final = 1000


class Prune(Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs that ended before an instant, in one of these states; without states in any."""

    before_ms: int
    states: list[FinalState] = field(default_factory=list)


class WhatIf(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings to try: the tables of machines and of commands by name, sizes of semaphores."""

    machines: dict[str, dict[str, object]] = field(default_factory=dict)
    commands: dict[str, dict[str, object]] = field(default_factory=dict)
    semaphores: dict[str, int] = field(default_factory=dict)


@get("/check", summary="Look whether the store keeps its promises")
async def check_invariants(request: ApiRequest) -> schema.Checked:
    found = await get_master(request).read(check_store)
    return {
        "violations": [
            {"invariant": each.invariant, "job": each.job_id, "sentence": each.sentence}
            for each in found[:_MAX_VIOLATIONS]
        ],
        "count": len(found),
    }


@post("/jobs/prune", status_code=200, summary="Delete old jobs that are over, with their output")
async def prune_jobs(request: ApiRequest, data: JSONBody[Prune]) -> schema.Pruned:
    """Slice by slice, each a turn's part, as long as somebody waits for it."""
    before_ms = check_time_ms(data.before_ms, "before_ms")
    assert before_ms is not None
    master, gone = get_master(request), get_disconnect(request)
    states = list(data.states or FinalState.__args__)  # type: ignore[attr-defined]
    above: int | None = 0
    jobs = 0
    while above is not None and not gone.done():
        done: PruneSlice = await master.execute(
            requests.PruneJobs(before_ms, states, above, SLICE_JOBS)
        )
        await master.outputs.remove(done.attempts)
        jobs += done.jobs
        above = done.above
    return {"jobs": jobs}


@post("/what-if", status_code=200, summary="Replay the last week's jobs against changed settings")
async def replay_jobs(request: ApiRequest, data: JSONBody[WhatIf]) -> schema.WhatIf:
    if not (data.machines or data.commands or data.semaphores):
        raise BadRequest("say what is to be changed: machines, commands or semaphores")
    table = {
        "machines": data.machines,
        "commands": data.commands,
        "semaphores": data.semaphores,
    }
    return cast(schema.WhatIf, await get_master(request).replay(table))


ROUTES: Final[list[Any]] = [check_invariants, prune_jobs, replay_jobs]
