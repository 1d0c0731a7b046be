"""Routes about machines, and the master's own state."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from mythjobs.errors import BadRequest
from mythjobs.master import inbox
from mythjobs.web import answers
from mythjobs.web.request import ApiRequest, master_of

_MOST_JOBS: Final = 10_000


class SetMachine(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change of a machine: its ceiling, and the commands that may run on it."""

    jobs: int | None = None
    allow: Literal["all"] | list[str] | None = None
    deny: list[str] | None = None


@get("/status", summary="Say how the master and its queue are")
async def status(request: ApiRequest) -> answers.Status:
    return cast(answers.Status, await master_of(request).status())


@get("/machines", summary="List machines")
async def machines(request: ApiRequest) -> answers.Machines:
    return cast(answers.Machines, await master_of(request).machines())


@post("/machines/{name:str}", status_code=200, summary="Change a machine's ceiling or rights")
async def set_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SetMachine]
) -> answers.Machine:
    if data.jobs is not None and not 0 <= data.jobs <= _MOST_JOBS:
        raise BadRequest(f"jobs: from 0 to {_MOST_JOBS}")
    asked = inbox.SetMachine(name, data.jobs, data.allow, data.deny)
    return cast(answers.Machine, await master_of(request).ask(asked))


ROUTES: Final[list[Any]] = [status, machines, set_machine]
