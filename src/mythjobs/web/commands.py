"""Routes about commands: define, list, show, remove."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from mythjobs.master import inbox
from mythjobs.protocol.requests import DefineCommand, Defined
from mythjobs.store import reads
from mythjobs.web import answers
from mythjobs.web.request import ApiRequest, master_of


@post("/commands", summary="Define a command, or a new revision of it")
async def define(request: ApiRequest, data: JSONBody[DefineCommand]) -> Defined:
    asked = inbox.Define(data.definition, data.replace)
    return cast(Defined, await master_of(request).ask(asked))


@get("/commands", summary="List commands")
async def commands(request: ApiRequest) -> answers.Commands:
    return cast(answers.Commands, await master_of(request).read(reads.commands))


@get("/commands/{name:str}", summary="Show a command's definition")
async def command(request: ApiRequest, name: FromPath[str]) -> answers.Command:
    return cast(answers.Command, await master_of(request).read(reads.command, name))


@delete("/commands/{name:str}", status_code=200, summary="Remove a command")
async def remove(request: ApiRequest, name: FromPath[str]) -> answers.Removed:
    await master_of(request).ask(inbox.RemoveCommand(name))
    return {"name": name}


ROUTES: Final[list[Any]] = [define, commands, command, remove]
