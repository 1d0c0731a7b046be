"""Routes about commands: define, list, show, enable, remove."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from mythjobs.clock import master_now
from mythjobs.master import inbox, pages
from mythjobs.protocol.requests import DefineCommand, Defined, Enable
from mythjobs.store import reads
from mythjobs.web import answers
from mythjobs.web.numbers import revision_number
from mythjobs.web.request import ApiRequest, master_of


@post("/commands", summary="Define a command, or a new revision of it")
async def define(request: ApiRequest, data: JSONBody[DefineCommand]) -> answers.Defined:
    master = master_of(request)
    done: Defined = await master.ask(inbox.Define(data.definition, data.replace))
    nowhere = await master.read(pages.nowhere, master.memory, done.name, master_now())
    return {
        "name": done.name,
        "revision": done.revision,
        "changed": done.changed,
        "nowhere": nowhere,
    }


@get("/commands", summary="List commands")
async def commands(request: ApiRequest) -> answers.Commands:
    return cast(answers.Commands, await master_of(request).read(reads.commands))


@get("/commands/{name:str}", summary="Show a command, or an older revision")
async def command(
    request: ApiRequest,
    name: FromPath[str],
    revision: FromQuery[int | None] = None,
    statistics: FromQuery[bool] = False,
) -> answers.Command:
    number = None if revision is None else revision_number(revision)
    read = master_of(request).read(reads.command, name, number, statistics=statistics)
    return cast(answers.Command, await read)


@get("/commands/{name:str}/revisions", summary="List the revisions of a command, newest first")
async def revisions(request: ApiRequest, name: FromPath[str]) -> answers.Revisions:
    return cast(answers.Revisions, await master_of(request).read(reads.revisions, name))


@post(
    "/commands/{name:str}/enabled",
    status_code=200,
    summary="Let jobs of a command start, or not; those that run go on",
)
async def enable(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Enable]
) -> answers.Enabled:
    return cast(answers.Enabled, await master_of(request).ask(inbox.EnableCommand(name, data.on)))


@delete("/commands/{name:str}", status_code=200, summary="Remove a command")
async def remove(request: ApiRequest, name: FromPath[str]) -> answers.Removed:
    await master_of(request).ask(inbox.RemoveCommand(name))
    return {"name": name}


ROUTES: Final[list[Any]] = [define, commands, command, revisions, enable, remove]
