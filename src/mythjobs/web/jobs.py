"""Routes about jobs: submit, list, show, why, and the acts on them."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mythjobs.errors import BadRequest
from mythjobs.master import inbox
from mythjobs.protocol.requests import Act, Submit, Submitted
from mythjobs.store import reads
from mythjobs.web import answers
from mythjobs.web.numbers import checked, ids_of, job_number, wait_seconds
from mythjobs.web.request import ApiRequest, gone_of, master_of, submitter_of

MOST_LISTED: Final = 1000
_STATES: Final = ("queued", "leased", "running", "succeeded", "failed", "cancelled")


@post("/jobs", summary="Submit a job")
async def submit(request: ApiRequest, data: JSONBody[Submit]) -> Response[Submitted]:
    asked = inbox.SubmitJob(checked(data), submitter_of(request))
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
) -> answers.Jobs:
    states = tuple(state_is.split(",")) if state_is else ()
    for each in states:
        if each not in _STATES:
            raise BadRequest(f"state: {each} is not a state; states are {', '.join(_STATES)}")
    if not 1 <= limit <= MOST_LISTED:
        raise BadRequest(f"limit: from 1 to {MOST_LISTED}")
    answer = await master_of(request).read(
        reads.jobs,
        states=states,
        command=command,
        batch=None if batch is None else job_number(batch),
        limit=limit,
        before=None if before is None else job_number(before),
    )
    return cast(answers.Jobs, answer)


@get("/jobs/{job_id:int}", summary="Show a job; with `wait` once it is over, or after so long")
async def job(
    request: ApiRequest, job_id: FromPath[int], wait: FromQuery[float | None] = None
) -> answers.Job:
    master = master_of(request)
    if wait is None:
        return cast(answers.Job, await master.read(reads.job, job_number(job_id)))
    seconds, gone = wait_seconds(wait), gone_of(request)
    return cast(answers.Job, await master.wait_job(job_number(job_id), seconds, gone))


@get("/jobs/{job_id:int}/why", summary="Say why a job waits, and on which machines it could run")
async def why(request: ApiRequest, job_id: FromPath[int]) -> answers.Why:
    return cast(answers.Why, await master_of(request).why(job_number(job_id)))


@post("/jobs/cancel", status_code=200, summary="Cancel jobs; those that run are stopped")
async def cancel(request: ApiRequest, data: JSONBody[Act]) -> answers.ActedOn:
    return await _act(request, inbox.CancelJobs(ids_of(data), submitter_of(request)))


@post("/jobs/hold", status_code=200, summary="Hold jobs back")
async def hold(request: ApiRequest, data: JSONBody[Act]) -> answers.ActedOn:
    return await _act(request, inbox.HoldJobs(ids_of(data)))


@post("/jobs/release", status_code=200, summary="Release jobs that are held")
async def release(request: ApiRequest, data: JSONBody[Act]) -> answers.ActedOn:
    return await _act(request, inbox.ReleaseJobs(ids_of(data)))


@post("/jobs/rerun", status_code=200, summary="Submit jobs that are over once more")
async def rerun(request: ApiRequest, data: JSONBody[Act]) -> answers.ActedOn:
    return await _act(request, inbox.RerunJobs(ids_of(data), submitter_of(request)))


async def _act(request: ApiRequest, act: inbox.Request) -> answers.ActedOn:
    return {"jobs": await master_of(request).ask(act)}


ROUTES: Final[list[Any]] = [submit, jobs, job, why, cancel, hold, release, rerun]
