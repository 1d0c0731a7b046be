"""Routes about semaphores: what jobs share beyond one machine."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from mythjobs.master import inbox, pages
from mythjobs.protocol.requests import SemaphoreSize
from mythjobs.web import answers
from mythjobs.web.request import ApiRequest, master_of


@get("/semaphores", summary="List semaphores, and how much of each is taken")
async def semaphores(request: ApiRequest) -> answers.Semaphores:
    return await _all(request)


@post("/semaphores/{name:str}", status_code=200, summary="Say how many units a semaphore has")
async def set_semaphore(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SemaphoreSize]
) -> answers.Semaphores:
    await master_of(request).ask(inbox.SetSemaphore(name, data.size, data.free_when_frozen))
    return await _all(request)


@delete("/semaphores/{name:str}", status_code=200, summary="Remove a semaphore")
async def remove_semaphore(request: ApiRequest, name: FromPath[str]) -> answers.Semaphores:
    await master_of(request).ask(inbox.SetSemaphore(name, None))
    return await _all(request)


async def _all(request: ApiRequest) -> answers.Semaphores:
    master = master_of(request)
    return cast(answers.Semaphores, await master.read(pages.semaphores, master.memory))


ROUTES: Final[list[Any]] = [semaphores, set_semaphore, remove_semaphore]
