"""Routes for jobs: submit, list, count, show, explain, and actions on one or many jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Struct, field

from mythjobs.errors import BadRequest, NoSuchCommand, NoSuchJob, StoreFull
from mythjobs.master import requests
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol import responses
from mythjobs.protocol.job_changes import JobChanges, QueuedJobChange, Rerun, RerunChanges
from mythjobs.protocol.requests import JobActionResult, JobIds, JobPriority, Submit, Submitted
from mythjobs.store.queries import filters
from mythjobs.web.routes.request import ApiRequest, get_disconnect, get_master, get_submitter
from mythjobs.web.routes.validation import (
    MAX_ID,
    check_batch_id,
    check_changes,
    check_job_id,
    check_range,
    check_states,
    check_submit,
    check_time_ms,
    check_wait_s,
    is_valid_id,
)
from mythjobs.web.server.openapi import error_responses

MAX_LISTED: Final = 1000
Action = Literal["cancel", "hold", "release", "rerun", "pause", "resume", "priority", "set"]

# Maximum number of jobs that one transaction of the master acts on, so that other requests in the
# same transaction are not delayed.
SLICE_JOBS: Final = 250
_MAX_ERRORS: Final = 20
_LIVE: Final = (JobState.LEASED, JobState.RUNNING)
# Job states in which each action has an effect.
_STATES: Final[dict[str, tuple[JobState, ...]]] = {
    "cancel": (JobState.QUEUED, *_LIVE),
    "hold": (JobState.QUEUED,),
    "release": (JobState.QUEUED,),
    "rerun": tuple(sorted(FINAL)),
    "pause": _LIVE,
    "resume": _LIVE,
    "priority": (JobState.QUEUED,),
    "set": (JobState.QUEUED,),
}


@post(
    "/jobs",
    summary="Submit a job",
    responses={
        200: ResponseSpec(Submitted, False, "A job with this key exists"),
        **error_responses(NoSuchCommand, NoSuchJob, StoreFull),
    },
)
async def submit_job(request: ApiRequest, data: JSONBody[Submit]) -> Response[Submitted]:
    submit = requests.SubmitJob(check_submit(data), get_submitter(request))
    submitted = await get_master(request).execute(submit)
    return Response(submitted, status_code=201 if submitted.new else 200)


@get(
    "/jobs", summary="List jobs, newest first", responses=error_responses(NoSuchCommand, NoSuchJob)
)
async def list_jobs(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    limit: FromQuery[int] = 100,
    before: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
    since_ms: FromQuery[int | None] = None,
    held: FromQuery[bool] = False,
) -> responses.Jobs:
    states = check_states(state_is)
    return await get_master(request).list_jobs(
        states=states,
        command=command,
        batch=None if batch is None else check_batch_id(batch),
        limit=check_range(limit, "limit", 1, MAX_LISTED),
        before=None if before is None else check_range(before, "before", 1, MAX_ID),
        subject=subject,
        since_ms=check_time_ms(since_ms, "since_ms"),
        held=held,
    )


@get(
    "/jobs/count",
    summary="Count jobs by state",
    responses=error_responses(NoSuchCommand, NoSuchJob),
)
async def count_jobs(
    request: ApiRequest,
    state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    command: FromQuery[str | None] = None,
    batch: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
    held: FromQuery[bool] = False,
    ended_before_ms: FromQuery[int | None] = None,
    lost: FromQuery[bool] = False,
    since_ms: FromQuery[int | None] = None,
) -> responses.Counts:
    job_filter = filters.JobFilter(
        check_states(state_is),
        command,
        None if batch is None else check_batch_id(batch),
        subject,
        held,
        check_time_ms(ended_before_ms, "ended_before_ms"),
        lost,
        check_time_ms(since_ms, "since_ms"),
    )
    return {"counts": await get_master(request).read(filters.count_jobs, job_filter)}


@get(
    "/jobs/{job_id:int}",
    summary="Show a job; with `wait`, once it has ended (or, with `held`, is held) or after that "
    "many seconds",
    responses=error_responses(NoSuchJob),
)
async def show_job(
    request: ApiRequest,
    job_id: FromPath[int],
    wait: FromQuery[float | None] = None,
    held: FromQuery[bool] = False,
) -> responses.Job:
    master = get_master(request)
    if wait is None:
        return await master.read_job(check_job_id(job_id))
    wait_s, disconnected = check_wait_s(wait), get_disconnect(request)
    return await master.wait_job(check_job_id(job_id), wait_s, disconnected, until_held=held)


@get(
    "/jobs/{job_id:int}/why",
    summary="Explain why a job waits and where it could run",
    responses=error_responses(NoSuchJob),
)
async def explain_job(request: ApiRequest, job_id: FromPath[int]) -> responses.Why:
    return await get_master(request).explain_job(check_job_id(job_id))


def _make_action_route(action: Action, summary: str) -> Any:
    @post(f"/jobs/{action}", status_code=200, summary=summary, responses=error_responses())
    async def act_on_jobs(request: ApiRequest, data: JSONBody[JobIds]) -> responses.ActionResults:
        return await _act_on_ids(request, data.ids, _request_maker(action, get_submitter(request)))

    return act_on_jobs


@post(
    "/jobs/rerun",
    status_code=200,
    summary="Submit ended jobs again, as they were or with changes",
    responses=error_responses(NoSuchJob, StoreFull),
)
async def rerun_jobs(request: ApiRequest, data: JSONBody[Rerun]) -> responses.ActionResults:
    changes = None if data.changes is None else check_changes(data.changes)
    if changes is not None and changes.key is not None and len(data.ids) != 1:
        raise BadRequest("key: is for one job, so it needs a single id in ids")
    by, reruns = get_submitter(request), requests.RerunIds()
    # A job has a higher id than the jobs that it waits for, and so has its rerun.
    order = sorted(range(len(data.ids)), key=data.ids.__getitem__)
    ids = [data.ids[each] for each in order]
    make_request = _request_maker("rerun", by, changes=changes, reruns=reruns)
    results = (await _act_on_ids(request, ids, make_request, reruns))["jobs"]
    by_position = dict(zip(order, results, strict=True))
    return {"jobs": [by_position[each] for each in range(len(order))]}


@post(
    "/jobs/set",
    status_code=200,
    summary="Change queued jobs: start time, arguments, limits, …",
    responses=error_responses(StoreFull),
)
async def set_jobs(request: ApiRequest, data: JSONBody[QueuedJobChange]) -> responses.ActionResults:
    changes = check_changes(data.changes)
    by = get_submitter(request)
    return await _act_on_ids(request, data.ids, lambda ids: requests.SetJobs(ids, changes, by))


@post(
    "/jobs/priority",
    status_code=200,
    summary="Change the priority of queued jobs",
    responses=error_responses(),
)
async def set_priority(request: ApiRequest, data: JSONBody[JobPriority]) -> responses.ActionResults:
    by = get_submitter(request)
    return await _act_on_ids(request, data.ids, _request_maker("priority", by, data.priority))


async def _act_on_ids(
    request: ApiRequest,
    ids: list[int],
    make_request: Callable[[list[int]], requests.Request],
    reruns: requests.RerunIds | None = None,
) -> responses.ActionResults:
    """Act on slices of jobs, one per transaction. reruns: gets the ids of the new jobs."""
    if not ids:
        raise BadRequest("ids: must contain at least one job id")
    # Omit ids beyond the store's 64-bit integers, which its queries cannot contain.
    valid = [each for each in ids if is_valid_id(each)]
    master = get_master(request)
    acted: list[JobActionResult] = []
    for first in range(0, len(valid), SLICE_JOBS):
        done = await master.execute(make_request(valid[first : first + SLICE_JOBS]))
        if reruns is not None:
            reruns.add(done)
        acted += done
    results = iter(acted)
    return {"jobs": [next(results) if is_valid_id(each) else _no_job(each) for each in ids]}


def _no_job(job_id: int) -> JobActionResult:
    return JobActionResult(job_id, "", "", f"there is no job {job_id}", False)


def _request_maker(
    action: Action,
    by: str,
    priority: int = 0,
    changes: RerunChanges | None = None,
    reruns: requests.RerunIds | None = None,
) -> Callable[[list[int]], requests.Request]:
    match action:
        case "cancel":
            return lambda ids: requests.CancelJobs(ids, by)
        case "hold":
            return requests.HoldJobs
        case "release":
            return requests.ReleaseJobs
        case "rerun":
            return lambda ids: requests.RerunJobs(ids, by, changes, reruns)
        case "priority":
            return lambda ids: requests.SetPriority(ids, priority, by)
        case "set":
            return lambda ids: requests.SetJobs(ids, changes or JobChanges(), by)
        case _:
            return lambda ids: requests.FreezeJobs(ids, action == "pause")


class ActOnMatching(Struct, frozen=True, forbid_unknown_fields=True):
    """An action on all jobs that match every given field.

    states: default is all states in which the action has an effect. lost: only jobs that are held
    because their attempts were lost too often in a row. priority: of `act` priority. since_ms: of
    `act` rerun, only jobs that ended at this time or later. changes: of `act` rerun and set,
    without a key; set allows neither hold nor after.
    """

    act: Action
    states: list[JobState] = field(default_factory=list)
    command: str | None = None
    batch: int | None = None
    subject: str | None = None
    lost: bool = False
    priority: int | None = None
    since_ms: int | None = None
    changes: RerunChanges | None = None


@post(
    "/jobs/all",
    status_code=200,
    summary="Act on all jobs that match a filter",
    responses=error_responses(NoSuchCommand, NoSuchJob, StoreFull),
)
async def act_on_matching(
    request: ApiRequest, data: JSONBody[ActOnMatching]
) -> responses.MatchingActionResult:
    """Act on slices of jobs, one per transaction, until done or the client disconnects.

    Jobs submitted after the request began are not affected.
    """
    job_filter = _make_filter(data)
    if (data.act == "priority") != (data.priority is not None):
        raise BadRequest("priority: is needed for this act, and for no other")
    changes = _check_changes_of_many(data)
    by = get_submitter(request)
    reruns = requests.RerunIds()
    make_request = _request_maker(data.act, by, data.priority or 0, changes, reruns)
    master, disconnected = get_master(request), get_disconnect(request)
    last_id, after_id = await master.read(filters.find_max_id), 0
    done = unchanged = refused = 0
    errors: list[str] = []
    new_ids: list[list[int]] = []
    while not disconnected.done():
        ids = await master.read(filters.find_ids, job_filter, after_id, last_id, SLICE_JOBS)
        if not ids:
            break
        acted: list[JobActionResult] = await master.execute(make_request(ids))
        new_errors = [each.error for each in acted if each.error]
        done += sum(each.changed for each in acted)
        unchanged += sum(not (each.changed or each.error) for each in acted)
        refused += len(new_errors)
        errors += new_errors[: _MAX_ERRORS - len(errors)]
        if data.act == "rerun":
            reruns.add(acted)
            _add_ids(new_ids, [int(each.done) for each in acted if each.changed])
        after_id = ids[-1]
    return {
        "act": data.act,
        "done": done,
        "unchanged": unchanged,
        "refused": refused,
        "errors": errors,
        "new_ids": new_ids,
    }


def _add_ids(ranges: list[list[int]], ids: list[int]) -> None:
    """Add ids, in ascending order, to ranges [first, last] of lower ids."""
    for each in ids:
        if ranges and ranges[-1][1] + 1 == each:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])


def _check_changes_of_many(data: ActOnMatching) -> RerunChanges | None:
    changes = None if data.changes is None else check_changes(data.changes)
    if data.act == "set" and changes is None:
        raise BadRequest("changes: are needed for set")
    if changes is None:
        return None
    if data.act not in ("rerun", "set"):
        raise BadRequest(f"changes: are for rerun and set, not for {data.act}")
    if changes.key is not None:
        raise BadRequest("changes.key: is for one job, so it cannot be given with a filter")
    if data.act == "set" and (changes.after or changes.hold):
        raise BadRequest("changes: after and hold are for rerun, not for set")
    return changes


def _make_filter(data: ActOnMatching) -> filters.JobFilter:
    valid = _STATES[data.act]
    for each in data.states:
        if each not in valid:
            raise BadRequest(
                f"states: {data.act} has no effect on {each} jobs, only on {' or '.join(valid)}"
            )
    if data.lost and "queued" not in (data.states or valid):
        raise BadRequest(
            f"lost: these jobs are queued, and {data.act} has no effect on queued jobs"
        )
    since_ms = check_time_ms(data.since_ms, "since_ms")
    if since_ms is not None and data.act != "rerun":
        # It compares the end of a job, and all other actions are on jobs that have not ended.
        raise BadRequest(f"since_ms: is for rerun, not for {data.act}")
    selected = (data.states, data.command, data.batch, data.subject, data.lost, since_ms)
    if all(each in ([], None, False) for each in selected):
        raise BadRequest(
            "no jobs selected; give a command, batch, subject, states, lost or since_ms"
        )
    return filters.JobFilter(
        tuple(data.states) or valid,
        data.command,
        None if data.batch is None else check_batch_id(data.batch),
        data.subject,
        held=data.act == "release",
        lost=data.lost,
        since_ms=since_ms,
    )


ROUTES: Final[list[Any]] = [
    submit_job,
    list_jobs,
    count_jobs,
    show_job,
    explain_job,
    _make_action_route("cancel", "Cancel jobs and stop running ones"),
    _make_action_route("hold", "Hold queued jobs"),
    _make_action_route("release", "Release held jobs"),
    rerun_jobs,
    _make_action_route("pause", "Pause (freeze) running jobs"),
    _make_action_route("resume", "Resume paused jobs"),
    set_jobs,
    set_priority,
    act_on_matching,
]
