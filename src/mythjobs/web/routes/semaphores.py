"""Routes for semaphores: units that jobs on all machines share."""

from __future__ import annotations

from typing import Any, Final

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from mythjobs.errors import NoSuchSemaphore
from mythjobs.master import requests
from mythjobs.master.explain import machine
from mythjobs.protocol import responses
from mythjobs.protocol.requests import SemaphoreSize
from mythjobs.web.routes.request import ApiRequest, get_master
from mythjobs.web.server.openapi import error_responses


@get("/semaphores", summary="List semaphores with their units in use", responses=error_responses())
async def list_semaphores(request: ApiRequest) -> responses.Semaphores:
    return await _read_semaphores(request)


@post(
    "/semaphores/{name:str}",
    status_code=200,
    summary="Create or resize a semaphore",
    responses=error_responses(NoSuchSemaphore),
)
async def set_semaphore(
    request: ApiRequest, name: FromPath[str], data: JSONBody[SemaphoreSize]
) -> responses.Semaphores:
    await get_master(request).execute(requests.SetSemaphore(name, data.size, data.free_when_frozen))
    return await _read_semaphores(request)


@delete(
    "/semaphores/{name:str}",
    status_code=200,
    summary="Remove a semaphore",
    responses=error_responses(NoSuchSemaphore),
)
async def remove_semaphore(request: ApiRequest, name: FromPath[str]) -> responses.Semaphores:
    await get_master(request).execute(requests.SetSemaphore(name, None))
    return await _read_semaphores(request)


async def _read_semaphores(request: ApiRequest) -> responses.Semaphores:
    master = get_master(request)
    return await master.read(machine.read_semaphore_usage, master.state)


ROUTES: Final[list[Any]] = [list_semaphores, set_semaphore, remove_semaphore]
