"""Routes for schedules: define, list, show, run now, pause, backfill, remove."""

from __future__ import annotations

from typing import Any, Final

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from mythjobs.clock import master_now
from mythjobs.errors import Conflict, NoSuchCommand, NoSuchMachine, NoSuchSchedule, StoreFull
from mythjobs.master.schedules import overview, requests
from mythjobs.model.zone import format_zoned_time
from mythjobs.protocol import responses, schedule_responses
from mythjobs.protocol.schedule_responses import Backfill, ScheduleDefinition, SchedulePause
from mythjobs.web.routes.request import ApiRequest, get_master, get_submitter
from mythjobs.web.routes.validation import check_range, check_time_ms
from mythjobs.web.server.openapi import error_responses

_SHOWN_RUNS: Final = 5
_MAX_SHOWN: Final = 1000


@get("/schedules", summary="List schedules", responses=error_responses())
async def list_schedules(request: ApiRequest) -> schedule_responses.Schedules:
    master = get_master(request)
    return await master.read(overview.list_schedules, master.state, master_now())


@post(
    "/schedules",
    summary="Add or replace a schedule, or only check its definition",
    responses=error_responses(NoSuchCommand, NoSuchMachine, Conflict, StoreFull),
)
async def define_schedule(
    request: ApiRequest, data: JSONBody[ScheduleDefinition]
) -> schedule_responses.DefinedSchedule:
    master = get_master(request)
    changed: bool = await master.execute(
        requests.DefineSchedule(
            data.definition,
            get_submitter(request),
            data.replace,
            data.dry_run,
            data.paused,
            data.reason,
        )
    )
    coming = overview.preview(data.definition, master.state, master_now(), _SHOWN_RUNS)
    return {"name": str(data.definition["name"]), "changed": changed, "next": coming}


@get(
    "/schedules/{name:str}",
    summary="Show a schedule, its last ticks and next runs",
    responses=error_responses(NoSuchSchedule),
)
async def show_schedule(
    request: ApiRequest,
    name: FromPath[str],
    ticks: FromQuery[int] = 20,
    next: FromQuery[int] = _SHOWN_RUNS,
) -> schedule_responses.ScheduleDetails:
    check_range(ticks, "ticks", 0, _MAX_SHOWN)
    check_range(next, "next", 0, _MAX_SHOWN)
    master = get_master(request)
    return await master.read(
        overview.show_schedule, master.state, master_now(), name, past=ticks, coming=next
    )


@post(
    "/schedules/{name:str}/run",
    status_code=200,
    summary="Submit a job of a schedule now; the calendar does not change",
    responses=error_responses(NoSuchSchedule, NoSuchCommand, Conflict, StoreFull),
)
async def run_schedule(
    request: ApiRequest, name: FromPath[str]
) -> schedule_responses.ScheduledJobs:
    ids: list[int] = await get_master(request).execute(
        requests.RunSchedule(name, get_submitter(request))
    )
    return {"name": name, "jobs": ids}


@post(
    "/schedules/{name:str}/paused",
    status_code=200,
    summary="Pause or resume a schedule",
    responses=error_responses(NoSuchSchedule),
)
async def pause_schedule(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SchedulePause]
) -> schedule_responses.PausedSchedule:
    check_time_ms(data.until_ms, "until_ms")
    paused: bool = await get_master(request).execute(
        requests.PauseSchedule(name, data.on, data.until_ms, data.reason)
    )
    return {"name": name, "paused": paused}


@post(
    "/schedules/{name:str}/backfill",
    status_code=200,
    summary="Submit the jobs of past ticks that have none",
    responses=error_responses(NoSuchSchedule, Conflict, StoreFull),
)
async def backfill_schedule(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Backfill]
) -> schedule_responses.Backfilled:
    check_time_ms(data.from_ms, "from_ms")
    check_time_ms(data.to_ms, "to_ms")
    master = get_master(request)
    found: list[requests.BackfillTick] = await master.execute(
        requests.BackfillSchedule(name, data.from_ms, data.to_ms, data.dry_run)
    )
    state = master.state.schedules.find(name)
    zone = state.zone if state is not None else ""
    return {
        "name": name,
        "ticks": [
            {
                "at_ms": each.at_ms,
                "local": format_zoned_time(each.at_ms, zone),
                "outcome": each.outcome,
                "job": each.job_id,
                "reason": each.reason,
            }
            for each in found
        ],
    }


@delete(
    "/schedules/{name:str}",
    status_code=200,
    summary="Remove a schedule; its jobs stay",
    responses=error_responses(NoSuchSchedule),
)
async def remove_schedule(request: ApiRequest, name: FromPath[str]) -> responses.Removed:
    await get_master(request).execute(requests.RemoveSchedule(name))
    return {"name": name}


ROUTES: Final[list[Any]] = [
    list_schedules,
    define_schedule,
    show_schedule,
    run_schedule,
    pause_schedule,
    backfill_schedule,
    remove_schedule,
]
