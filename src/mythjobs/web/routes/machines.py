"""Routes for machines, and for the status of the master."""

from __future__ import annotations

from typing import Any, Final, Literal

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from mythjobs.clock import master_now
from mythjobs.errors import Conflict, NoSuchCommand, NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.explain import machine as machine_pages
from mythjobs.model.machine_policy import MAX_JOBS
from mythjobs.protocol import machine_responses as responses
from mythjobs.protocol.requests import HoursOverride, MachineSettings
from mythjobs.protocol.responses import Status
from mythjobs.web.routes.request import ApiRequest, get_master, get_submitter
from mythjobs.web.routes.validation import check_range
from mythjobs.web.server.openapi import error_responses


class MachineChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to a machine: maximum number of jobs ("auto": none), permitted commands, time zone,
    labels. command: to which `jobs` applies; null: to all jobs of the machine."""

    jobs: int | Literal["auto"] | None = None
    allow: Literal["all"] | list[str] | None = None
    deny: list[str] | None = None
    zone: str | None = None
    labels: list[str] = []
    no_labels: list[str] = []
    command: str | None = None


class ControlChange(Struct, frozen=True, forbid_unknown_fields=True):
    """`drain`: start no jobs. `pause`: also freeze those that run, until `until_ms` or until
    `resume`, which ends both."""

    action: Literal["drain", "pause", "resume"]
    until_ms: int | None = None


class Dead(Struct, frozen=True, forbid_unknown_fields=True):
    """Declaration that a machine is dead. reason: how the user knows that it runs no job."""

    reason: str


@get("/status", summary="Show the status of the master and its queue", responses=error_responses())
async def show_status(request: ApiRequest) -> Status:
    return await get_master(request).read_status()


@get("/machines", summary="List machines", responses=error_responses())
async def list_machines(request: ApiRequest) -> responses.Machines:
    return await get_master(request).list_machines()


@get(
    "/machines/{name:str}",
    summary="Show a machine with its settings",
    responses=error_responses(NoSuchMachine),
)
async def show_machine(request: ApiRequest, name: FromPath[str]) -> responses.MachineDetails:
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}",
    status_code=200,
    summary="Change a machine's job limit, rights, zone",
    responses=error_responses(NoSuchMachine, NoSuchCommand),
)
async def set_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[MachineChange]
) -> responses.MachineDetails:
    if isinstance(data.jobs, int):
        check_range(data.jobs, "jobs", 0, MAX_JOBS)
    change = requests.SetMachine(
        name, data.jobs, data.allow, data.deny, data.zone, data.labels, data.no_labels, data.command
    )
    await get_master(request).execute(change)
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/settings",
    status_code=200,
    summary="Replace all settings of a machine",
    responses=error_responses(NoSuchMachine, NoSuchCommand),
)
async def edit_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[MachineSettings]
) -> responses.MachineDetails:
    await get_master(request).execute(requests.EditMachine(name, data.settings))
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/hours",
    status_code=200,
    summary="Override a machine's windows until a given time",
    responses=error_responses(NoSuchMachine, NoSuchCommand),
)
async def override_hours(
    request: ApiRequest, name: FromPath[str], data: JSONBody[HoursOverride]
) -> responses.MachineDetails:
    override = requests.OverrideHours(name, data.kind, data.until_ms, data.command)
    await get_master(request).execute(override)
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/control",
    status_code=200,
    summary="Drain, pause or resume a machine",
    responses=error_responses(NoSuchMachine),
)
async def control_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[ControlChange]
) -> responses.MachineDetails:
    change = requests.ControlMachine(name, data.action, data.until_ms)
    await get_master(request).execute(change)
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/dead",
    status_code=200,
    summary="Declare a machine dead; its jobs are started again elsewhere",
    responses=error_responses(NoSuchMachine, Conflict),
)
async def declare_dead(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Dead]
) -> responses.DeadMachine:
    declaration = requests.DeclareDead(name, get_submitter(request), data.reason)
    return {"name": name, "jobs": await get_master(request).execute(declaration)}


@get(
    "/machines/{name:str}/why",
    summary="Explain why a machine starts no more jobs",
    responses=error_responses(NoSuchMachine),
)
async def explain_machine(request: ApiRequest, name: FromPath[str]) -> responses.WhyMachine:
    return await get_master(request).explain_machine(name)


async def _read_machine(request: ApiRequest, name: str) -> responses.MachineDetails:
    master = get_master(request)
    return await master.read(machine_pages.read_machine, master.state, name, master_now())


ROUTES: Final[list[Any]] = [
    show_status,
    list_machines,
    show_machine,
    set_machine,
    edit_machine,
    override_hours,
    control_machine,
    declare_dead,
    explain_machine,
]
