"""Routes about machines, and the master's own state."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from mythjobs.clock import master_now
from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.explain import machine as machine_pages
from mythjobs.protocol.requests import MachineSettings, Override
from mythjobs.web.routes.request import ApiRequest, get_master, get_submitter
from mythjobs.web.server import schema

_MAX_JOBS: Final = 10_000


class SetMachine(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change of a machine: its ceiling, the commands that may run on it, its zone."""

    jobs: int | None = None
    allow: Literal["all"] | list[str] | None = None
    deny: list[str] | None = None
    zone: str | None = None


class Dead(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is known that a machine runs nothing any more."""

    reason: str


@get("/status", summary="Say how the master and its queue are")
async def show_status(request: ApiRequest) -> schema.Status:
    return cast(schema.Status, await get_master(request).read_status())


@get("/machines", summary="List machines")
async def list_machines(request: ApiRequest) -> schema.Machines:
    return cast(schema.Machines, await get_master(request).list_machines())


@get("/machines/{name:str}", summary="Show a machine, and what its owner says of it")
async def show_machine(request: ApiRequest, name: FromPath[str]) -> schema.MachineDetails:
    return await _read_machine(request, name)


@post("/machines/{name:str}", status_code=200, summary="Change a machine's ceiling, rights, zone")
async def set_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SetMachine]
) -> schema.MachineDetails:
    if data.jobs is not None and not 0 <= data.jobs <= _MAX_JOBS:
        raise BadRequest(f"jobs: from 0 to {_MAX_JOBS}")
    asked = requests.SetMachine(name, data.jobs, data.allow, data.deny, data.zone)
    await get_master(request).execute(asked)
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/settings",
    status_code=200,
    summary="Replace all that a machine's owner says of it",
)
async def edit_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[MachineSettings]
) -> schema.MachineDetails:
    await get_master(request).execute(requests.EditMachine(name, data.settings))
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/hours",
    status_code=200,
    summary="Open or close a machine until an instant, whatever its windows say",
)
async def override_hours(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Override]
) -> schema.MachineDetails:
    asked = requests.OverrideHours(name, data.kind, data.until_ms, data.command)
    await get_master(request).execute(asked)
    return await _read_machine(request, name)


@post(
    "/machines/{name:str}/dead",
    status_code=200,
    summary="Declare that a machine runs nothing any more; its jobs are begun again elsewhere",
)
async def declare_dead(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Dead]
) -> schema.DeadMachine:
    asked = requests.DeclareDead(name, get_submitter(request), data.reason)
    return {"name": name, "jobs": await get_master(request).execute(asked)}


@get("/machines/{name:str}/why", summary="Say what a machine waits for")
async def explain_machine(request: ApiRequest, name: FromPath[str]) -> schema.WhyMachine:
    master = get_master(request)
    found = await master.explain_machine(name)
    return cast(schema.WhyMachine, found)


async def _read_machine(request: ApiRequest, name: str) -> schema.MachineDetails:
    master = get_master(request)
    found = await master.read(machine_pages.machine, master.state, name, master_now())
    return cast(schema.MachineDetails, found)


ROUTES: Final[list[Any]] = [
    show_status, list_machines, show_machine, set_machine, edit_machine, override_hours, declare_dead, explain_machine,
]  # fmt: skip
