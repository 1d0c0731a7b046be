"""Routes about commands: define, list, show, enable, remove."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from mythjobs.clock import master_now
from mythjobs.master import requests
from mythjobs.master.explain import pages
from mythjobs.protocol.requests import DefineCommand, Defined, Enable
from mythjobs.store.queries.commands import list_commands, list_revisions, read_command
from mythjobs.web.routes.request import ApiRequest, master_of
from mythjobs.web.routes.validation import revision_number
from mythjobs.web.server import schema


@post("/commands", summary="Define a command, or a new revision of it")
async def define(request: ApiRequest, data: JSONBody[DefineCommand]) -> schema.Defined:
    master = master_of(request)
    done: Defined = await master.ask(requests.Define(data.definition, data.replace))
    nowhere = await master.read(pages.nowhere, master.memory, done.name, master_now())
    return {
        "name": done.name,
        "revision": done.revision,
        "changed": done.changed,
        "nowhere": nowhere,
    }


@get("/commands", summary="List commands")
async def commands(request: ApiRequest) -> schema.Commands:
    return cast(schema.Commands, await master_of(request).read(list_commands))


@get("/commands/{name:str}", summary="Show a command, or an older revision")
async def command(
    request: ApiRequest,
    name: FromPath[str],
    revision: FromQuery[int | None] = None,
    statistics: FromQuery[bool] = False,
) -> schema.Command:
    number = None if revision is None else revision_number(revision)
    read = master_of(request).read(read_command, name, number, statistics=statistics)
    return cast(schema.Command, await read)


@get("/commands/{name:str}/revisions", summary="List the revisions of a command, newest first")
async def revisions(request: ApiRequest, name: FromPath[str]) -> schema.Revisions:
    return cast(schema.Revisions, await master_of(request).read(list_revisions, name))


@post(
    "/commands/{name:str}/enabled",
    status_code=200,
    summary="Let jobs of a command start, or not; those that run go on",
)
async def enable(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Enable]
) -> schema.Enabled:
    return cast(schema.Enabled, await master_of(request).ask(requests.EnableCommand(name, data.on)))


@delete("/commands/{name:str}", status_code=200, summary="Remove a command")
async def remove(request: ApiRequest, name: FromPath[str]) -> schema.Removed:
    await master_of(request).ask(requests.RemoveCommand(name))
    return {"name": name}


ROUTES: Final[list[Any]] = [define, commands, command, revisions, enable, remove]
