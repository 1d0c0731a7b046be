"""Routes about jobs: submit, list, count, show, why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, cast

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Struct, field

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.requests import Act, Acted, Submit, Submitted
from mythjobs.store.queries import filters
from mythjobs.web.routes.request import ApiRequest, get_disconnect, get_master, get_submitter
from mythjobs.web.routes.validation import (
    check_batch_id,
    check_ids,
    check_job_id,
    check_submit,
    check_time_ms,
    check_wait_s,
    is_valid_id,
)
from mythjobs.web.server import schema

MAX_LISTED: Final = 1000
Action = Literal["cancel", "hold", "release", "rerun", "pause", "resume"]

# As many jobs share a turn with everything else that has arrived.
SLICE_JOBS: Final = 500
_MAX_ERRORS: Final = 20
_LIVE: Final = (JobState.LEASED, JobState.RUNNING)
# On jobs in which states an act can do anything.
_STATES: Final[dict[str, tuple[JobState, ...]]] = {
    "cancel": (JobState.QUEUED, *_LIVE),
    "hold": (JobState.QUEUED,),
    "release": (JobState.QUEUED,),
    "rerun": tuple(sorted(FINAL)),
    "pause": _LIVE,
    "resume": _LIVE,
}


@post("/jobs", summary="Submit a job")
async def submit_job(request: ApiRequest, data: JSONBody[Submit]) -> Response[Submitted]:
    asked = requests.SubmitJob(check_submit(data), get_submitter(request))
    submitted = await get_master(request).execute(asked)
    return Response(submitted, status_code=201 if submitted.new else 200)


@get("/jobs", summary="List jobs, newest first")
async def list_jobs(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    limit: FromQuery[int] = 100,
    before: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
) -> schema.Jobs:
    states = _parse_states(state_is)
    if not 1 <= limit <= MAX_LISTED:
        raise BadRequest(f"limit: from 1 to {MAX_LISTED}")
    answer = await get_master(request).list_jobs(
        states=states,
        command=command,
        batch=None if batch is None else check_batch_id(batch),
        limit=limit,
        before=None if before is None else check_job_id(before),
        subject=subject,
    )
    return cast(schema.Jobs, answer)


@get("/jobs/count", summary="Count jobs by state")
async def count_jobs(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
    held: FromQuery[bool] = False,
    ended_before_ms: FromQuery[int | None] = None,
) -> schema.Counts:
    which = filters.JobFilter(
        _parse_states(state_is),
        command,
        None if batch is None else check_batch_id(batch),
        subject,
        held,
        check_time_ms(ended_before_ms, "ended_before_ms"),
    )
    return {"counts": await get_master(request).read(filters.count_jobs, which)}


def _parse_states(listed: str | None) -> tuple[str, ...]:
    states = tuple(listed.split(",")) if listed else ()
    for each in states:
        if each not in tuple(JobState):
            raise BadRequest(f"state: {each} is not a state; states are {', '.join(JobState)}")
    return states


@get("/jobs/{job_id:int}", summary="Show a job; with `wait` once it is over, or after so long")
async def show_job(
    request: ApiRequest, job_id: FromPath[int], wait: FromQuery[float | None] = None
) -> schema.Job:
    master = get_master(request)
    if wait is None:
        return cast(schema.Job, await master.read_job(check_job_id(job_id)))
    seconds, gone = check_wait_s(wait), get_disconnect(request)
    return cast(schema.Job, await master.wait_job(check_job_id(job_id), seconds, gone))


@get("/jobs/{job_id:int}/why", summary="Say why a job waits, and on which machines it could run")
async def explain_job(request: ApiRequest, job_id: FromPath[int]) -> schema.Why:
    return cast(schema.Why, await get_master(request).explain_job(check_job_id(job_id)))


class ActOnMatching(Struct, frozen=True, forbid_unknown_fields=True):
    """An act on all jobs of a command, a batch, a subject, in certain states; what is left out is
    not asked. Without states: on all that the act can be done to."""

    act: Action
    states: list[JobState] = field(default_factory=list)
    command: str | None = None
    batch: int | None = None
    subject: str | None = None


@post("/jobs/cancel", status_code=200, summary="Cancel jobs; those that run are stopped")
async def cancel_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "cancel", data)


@post("/jobs/hold", status_code=200, summary="Hold jobs back")
async def hold_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "hold", data)


@post("/jobs/release", status_code=200, summary="Release jobs that are held")
async def release_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "release", data)


@post("/jobs/rerun", status_code=200, summary="Submit jobs that are over once more")
async def rerun_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "rerun", data)


@post("/jobs/pause", status_code=200, summary="Freeze jobs that run")
async def pause_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "pause", data)


@post("/jobs/resume", status_code=200, summary="Let jobs that were paused go on")
async def resume_jobs(request: ApiRequest, data: JSONBody[Act]) -> schema.ActionResults:
    return await _apply_to_ids(request, "resume", data)


async def _apply_to_ids(request: ApiRequest, name: Action, act: Act) -> schema.ActionResults:
    asked, ids = _request_for(name, get_submitter(request)), check_ids(act)
    # The store could not even be asked for the others.
    known = [each for each in ids if is_valid_id(each)]
    acted: list[Acted] = await get_master(request).execute(asked(known)) if known else []
    told = iter(acted)
    return {"jobs": [next(told) if is_valid_id(each) else _no_such_job(each) for each in ids]}


def _no_such_job(job_id: int) -> Acted:
    return Acted(job_id, "", "", f"there is no job {job_id}")


def _request_for(name: Action, by: str) -> Callable[[list[int]], requests.Request]:
    def made(ids: list[int]) -> requests.Request:
        match name:
            case "cancel":
                return requests.CancelJobs(ids, by)
            case "hold":
                return requests.HoldJobs(ids)
            case "release":
                return requests.ReleaseJobs(ids)
            case "rerun":
                return requests.RerunJobs(ids, by)
            case _:
                return requests.FreezeJobs(ids, name == "pause")

    return made


@post("/jobs/all", status_code=200, summary="Act on all jobs that have something in common")
async def apply_to_matching(
    request: ApiRequest, data: JSONBody[ActOnMatching]
) -> schema.MatchingActionResult:
    """Slice by slice, each a turn's part, as long as somebody waits for it. Jobs that are
    submitted meanwhile are not meant."""
    which = _filter(data)
    asked = _request_for(data.act, get_submitter(request))
    master, gone = get_master(request), get_disconnect(request)
    upto, above, done = await master.read(filters.find_last_id), 0, 0
    errors: list[str] = []
    refused = 0
    while not gone.done():
        ids = await master.read(filters.find_ids, which, above, upto, SLICE_JOBS)
        if not ids:
            break
        acted: list[Acted] = await master.execute(asked(ids))
        done += sum(not each.error for each in acted)
        said = [each.error for each in acted if each.error]
        refused += len(said)
        errors += said[: _MAX_ERRORS - len(errors)]
        above = ids[-1]
    return {"act": data.act, "done": done, "refused": refused, "errors": errors}


def _filter(data: ActOnMatching) -> filters.JobFilter:
    can = _STATES[data.act]
    for each in data.states:
        if each not in can:
            raise BadRequest(
                f"states: {data.act} does nothing to {each} jobs, only to {_join_or(can)}"
            )
    if not data.states and data.command is None and data.batch is None and data.subject is None:
        raise BadRequest("say which jobs: of a command, a batch, a subject, or in which states")
    return filters.JobFilter(
        tuple(data.states) or can,
        data.command,
        None if data.batch is None else check_batch_id(data.batch),
        data.subject,
        held=data.act == "release",
    )


def _join_or(states: tuple[JobState, ...]) -> str:
    return " or ".join(states)


ROUTES: Final[list[Any]] = [
    submit_job, list_jobs, count_jobs, show_job, explain_job, cancel_jobs, hold_jobs, release_jobs, rerun_jobs, pause_jobs, resume_jobs, apply_to_matching
]  # fmt: skip
