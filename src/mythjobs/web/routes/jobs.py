"""Routes about jobs: submit, list, count, show, why."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.model.life import JobState
from mythjobs.protocol.requests import Submit, Submitted
from mythjobs.store.queries import filters
from mythjobs.web.routes.request import ApiRequest, gone_of, master_of, submitter_of
from mythjobs.web.routes.validation import batch_number, checked, instant, job_number, wait_seconds
from mythjobs.web.server import schema

MOST_LISTED: Final = 1000


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


ROUTES: Final[list[Any]] = [submit, jobs, count, job, why]
