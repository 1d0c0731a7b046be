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
from mythjobs.web.routes.request import ApiRequest, gone_of, master_of, submitter_of
from mythjobs.web.routes.validation import (
    batch_number,
    checked,
    ids_of,
    instant,
    job_number,
    may_be_job,
    wait_seconds,
)
from mythjobs.web.server import schema

MOST_LISTED: Final = 1000
Name = Literal["cancel", "hold", "release", "rerun", "pause", "resume"]

# As many jobs share a turn with everything else that has arrived.
SLICE_JOBS: Final = 500
_MOST_ERRORS: Final = 20
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
async def submit(request: ApiRequest, data: JSONBody[Submit]) -> Response[Submitted]:
    asked = requests.SubmitJob(checked(data), submitter_of(request))
    submitted = await master_of(request).ask(asked)
    return Response(submitted, status_code=201 if submitted.new else 200)


@get("/jobs", summary="List jobs, newest first")
async def jobs(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    limit: FromQuery[int] = 100,
    before: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
) -> schema.Jobs:
    states = states_of(state_is)
    if not 1 <= limit <= MOST_LISTED:
        raise BadRequest(f"limit: from 1 to {MOST_LISTED}")
    answer = await master_of(request).jobs(
        states=states,
        command=command,
        batch=None if batch is None else batch_number(batch),
        limit=limit,
        before=None if before is None else job_number(before),
        subject=subject,
    )
    return cast(schema.Jobs, answer)


@get("/jobs/count", summary="Count jobs by state")
async def count(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
    held: FromQuery[bool] = False,
    ended_before_ms: FromQuery[int | None] = None,
) -> schema.Counts:
    which = filters.Filter(
        states_of(state_is),
        command,
        None if batch is None else batch_number(batch),
        subject,
        held,
        instant(ended_before_ms, "ended_before_ms"),
    )
    return {"counts": await master_of(request).read(filters.count, which)}


def states_of(listed: str | None) -> tuple[str, ...]:
    states = tuple(listed.split(",")) if listed else ()
    for each in states:
        if each not in tuple(JobState):
            raise BadRequest(f"state: {each} is not a state; states are {', '.join(JobState)}")
    return states


@get("/jobs/{job_id:int}", summary="Show a job; with `wait` once it is over, or after so long")
async def job(
    request: ApiRequest, job_id: FromPath[int], wait: FromQuery[float | None] = None
) -> schema.Job:
    master = master_of(request)
    if wait is None:
        return cast(schema.Job, await master.job(job_number(job_id)))
    seconds, gone = wait_seconds(wait), gone_of(request)
    return cast(schema.Job, await master.wait_job(job_number(job_id), seconds, gone))


@get("/jobs/{job_id:int}/why", summary="Say why a job waits, and on which machines it could run")
async def why(request: ApiRequest, job_id: FromPath[int]) -> schema.Why:
    return cast(schema.Why, await master_of(request).why(job_number(job_id)))


class ActOnAll(Struct, frozen=True, forbid_unknown_fields=True):
    """An act on all jobs of a command, a batch, a subject, in certain states; what is left out is
    not asked. Without states: on all that the act can be done to."""

    act: Name
    states: list[JobState] = field(default_factory=list)
    command: str | None = None
    batch: int | None = None
    subject: str | None = None


@post("/jobs/cancel", status_code=200, summary="Cancel jobs; those that run are stopped")
async def cancel(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "cancel", data)


@post("/jobs/hold", status_code=200, summary="Hold jobs back")
async def hold(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "hold", data)


@post("/jobs/release", status_code=200, summary="Release jobs that are held")
async def release(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "release", data)


@post("/jobs/rerun", status_code=200, summary="Submit jobs that are over once more")
async def rerun(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "rerun", data)


@post("/jobs/pause", status_code=200, summary="Freeze jobs that run")
async def pause(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "pause", data)


@post("/jobs/resume", status_code=200, summary="Let jobs that were paused go on")
async def resume(request: ApiRequest, data: JSONBody[Act]) -> schema.ActedOn:
    return await _act(request, "resume", data)


async def _act(request: ApiRequest, name: Name, act: Act) -> schema.ActedOn:
    asked, ids = _request(name, submitter_of(request)), ids_of(act)
    # The store could not even be asked for the others.
    known = [each for each in ids if may_be_job(each)]
    acted: list[Acted] = await master_of(request).ask(asked(known)) if known else []
    told = iter(acted)
    return {"jobs": [next(told) if may_be_job(each) else _missing(each) for each in ids]}


def _missing(job_id: int) -> Acted:
    return Acted(job_id, "", "", f"there is no job {job_id}")


def _request(name: Name, by: str) -> Callable[[list[int]], requests.Request]:
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
async def act_on_all(request: ApiRequest, data: JSONBody[ActOnAll]) -> schema.ActedOnAll:
    """Slice by slice, each a turn's part, as long as somebody waits for it. Jobs that are
    submitted meanwhile are not meant."""
    which = _filter(data)
    asked = _request(data.act, submitter_of(request))
    master, gone = master_of(request), gone_of(request)
    upto, above, done = await master.read(filters.last), 0, 0
    errors: list[str] = []
    refused = 0
    while not gone.done():
        ids = await master.read(filters.numbers, which, above, upto, SLICE_JOBS)
        if not ids:
            break
        acted: list[Acted] = await master.ask(asked(ids))
        done += sum(not each.error for each in acted)
        said = [each.error for each in acted if each.error]
        refused += len(said)
        errors += said[: _MOST_ERRORS - len(errors)]
        above = ids[-1]
    return {"act": data.act, "done": done, "refused": refused, "errors": errors}


def _filter(data: ActOnAll) -> filters.Filter:
    can = _STATES[data.act]
    for each in data.states:
        if each not in can:
            raise BadRequest(f"states: {data.act} does nothing to {each} jobs, only to {_or(can)}")
    if not data.states and data.command is None and data.batch is None and data.subject is None:
        raise BadRequest("say which jobs: of a command, a batch, a subject, or in which states")
    return filters.Filter(
        tuple(data.states) or can,
        data.command,
        None if data.batch is None else batch_number(data.batch),
        data.subject,
        held=data.act == "release",
    )


def _or(states: tuple[JobState, ...]) -> str:
    return " or ".join(states)


ROUTES: Final[list[Any]] = [
    submit, jobs, count, job, why, cancel, hold, release, rerun, pause, resume, act_on_all
]  # fmt: skip
