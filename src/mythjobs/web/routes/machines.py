"""Routes about machines, and the master's own state."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from mythjobs.clock import master_now
from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.explain import pages
from mythjobs.protocol.requests import MachineSettings, Override
from mythjobs.web.routes.request import ApiRequest, master_of, submitter_of
from mythjobs.web.server import schema

_MOST_JOBS: Final = 10_000


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
async def status(request: ApiRequest) -> schema.Status:
    return cast(schema.Status, await master_of(request).status())


@get("/machines", summary="List machines")
async def machines(request: ApiRequest) -> schema.Machines:
    return cast(schema.Machines, await master_of(request).machines())


@get("/machines/{name:str}", summary="Show a machine, and what its owner says of it")
async def machine(request: ApiRequest, name: FromPath[str]) -> schema.WholeMachine:
    return await _whole(request, name)


@post("/machines/{name:str}", status_code=200, summary="Change a machine's ceiling, rights, zone")
async def set_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SetMachine]
) -> schema.WholeMachine:
    if data.jobs is not None and not 0 <= data.jobs <= _MOST_JOBS:
        raise BadRequest(f"jobs: from 0 to {_MOST_JOBS}")
    asked = requests.SetMachine(name, data.jobs, data.allow, data.deny, data.zone)
    await master_of(request).ask(asked)
    return await _whole(request, name)


@post(
    "/machines/{name:str}/settings",
    status_code=200,
    summary="Replace all that a machine's owner says of it",
)
async def edit_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[MachineSettings]
) -> schema.WholeMachine:
    await master_of(request).ask(requests.EditMachine(name, data.settings))
    return await _whole(request, name)


@post(
    "/machines/{name:str}/hours",
    status_code=200,
    summary="Open or close a machine until an instant, whatever its windows say",
)
async def override(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Override]
) -> schema.WholeMachine:
    asked = requests.OverrideHours(name, data.kind, data.until_ms, data.command)
    await master_of(request).ask(asked)
    return await _whole(request, name)


@post(
    "/machines/{name:str}/dead",
    status_code=200,
    summary="Declare that a machine runs nothing any more; its jobs are begun again elsewhere",
)
async def dead(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Dead]
) -> schema.DeadMachine:
    asked = requests.DeclareDead(name, submitter_of(request), data.reason)
    return {"name": name, "jobs": await master_of(request).ask(asked)}


@get("/machines/{name:str}/why", summary="Say what a machine waits for")
async def why(request: ApiRequest, name: FromPath[str]) -> schema.WhyMachine:
    master = master_of(request)
    found = await master.why_machine(name)
    return cast(schema.WhyMachine, found)


async def _whole(request: ApiRequest, name: str) -> schema.WholeMachine:
    master = master_of(request)
    found = await master.read(pages.machine, master.memory, name, master_now())
    return cast(schema.WholeMachine, found)


ROUTES: Final[list[Any]] = [
    status, machines, machine, set_machine, edit_machine, override, dead, why,
]  # fmt: skip
