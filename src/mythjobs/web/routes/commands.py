"""Routes for commands: define, list, show, enable, remove."""

from __future__ import annotations

from typing import Any, Final

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from mythjobs.clock import master_now
from mythjobs.errors import Conflict, NoSuchCommand, StoreFull
from mythjobs.master import requests
from mythjobs.master.explain import machine
from mythjobs.protocol import responses
from mythjobs.protocol.requests import CommandDefinition, DefineResult, EnableRequest
from mythjobs.store.queries import commands as queries
from mythjobs.web.routes.request import ApiRequest, get_master, get_submitter
from mythjobs.web.routes.validation import check_revision, check_time_ms
from mythjobs.web.server.openapi import error_responses


@post(
    "/commands",
    summary="Define a command or a new revision",
    responses=error_responses(Conflict, StoreFull),
)
async def define_command(
    request: ApiRequest, data: JSONBody[CommandDefinition]
) -> responses.Defined:
    master = get_master(request)
    done: DefineResult = await master.execute(requests.DefineCommand(data.definition, data.replace))
    nowhere = await master.read(
        machine.find_placement_obstacle, master.state, done.name, master_now()
    )
    return {
        "name": done.name,
        "revision": done.revision,
        "changed": done.changed,
        "nowhere": nowhere,
    }


@get("/commands", summary="List commands", responses=error_responses())
async def list_commands(
    request: ApiRequest, statistics: FromQuery[bool] = False
) -> responses.Commands:
    return await get_master(request).read(queries.list_commands, statistics=statistics)


@get(
    "/commands/{name:str}",
    summary="Show a command or an older revision",
    responses=error_responses(NoSuchCommand),
)
async def show_command(
    request: ApiRequest,
    name: FromPath[str],
    revision: FromQuery[int | None] = None,
    statistics: FromQuery[bool] = False,
) -> responses.CommandDetails:
    number = None if revision is None else check_revision(revision)
    return await get_master(request).read(queries.read_command, name, number, statistics=statistics)


@get(
    "/commands/{name:str}/revisions",
    summary="List the revisions of a command, newest first",
    responses=error_responses(NoSuchCommand),
)
async def list_revisions(request: ApiRequest, name: FromPath[str]) -> responses.Revisions:
    return await get_master(request).read(queries.list_revisions, name)


@post(
    "/commands/{name:str}/enabled",
    status_code=200,
    summary="Enable a command, or disable the start of its jobs, also until a time; running jobs "
    "continue",
    responses=error_responses(NoSuchCommand),
)
async def enable_command(
    request: ApiRequest, name: FromPath[str], data: JSONBody[EnableRequest]
) -> responses.Enabled:
    until_ms = check_time_ms(data.until_ms, "until_ms")
    enable = requests.EnableCommand(name, data.on, until_ms, get_submitter(request))
    done: responses.Enabled = await get_master(request).execute(enable)
    return done


@delete(
    "/commands/{name:str}",
    status_code=200,
    summary="Remove a command",
    responses=error_responses(NoSuchCommand, Conflict),
)
async def remove_command(request: ApiRequest, name: FromPath[str]) -> responses.Removed:
    await get_master(request).execute(requests.RemoveCommand(name))
    return {"name": name}


ROUTES: Final[list[Any]] = [
    define_command,
    list_commands,
    show_command,
    list_revisions,
    enable_command,
    remove_command,
]
