"""Request class of the routes (strict JSON decoding) and access to master and submitter."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar import Request

from mythjobs.errors import BadRequest
from mythjobs.master.service import Master


class ApiRequest(Request[Any, Any, Any]):
    async def json(self) -> Any:
        """Decode the body as the type that the route declares for `data`.

        Litestar's own method converts values leniently ("5" to 5, "true" to true), which changes
        job arguments.
        """
        field = self.scope["route_handler"].parsed_data_field
        assert field is not None
        try:
            return _decoder(field.annotation).decode(await self.body())
        except RecursionError:
            raise BadRequest("the body is nested too deeply") from None
        except UnicodeDecodeError:
            raise BadRequest("the body is not UTF-8") from None


_decoder = lru_cache(64)(msgspec.json.Decoder[Any])


def get_master(request: ApiRequest) -> Master:
    return cast(Master, request.app.state.master)


def get_disconnect(request: ApiRequest) -> asyncio.Future[None]:
    """Return a future that completes when the client disconnects."""
    return cast("asyncio.Future[None]", request.scope["state"]["connection"].disconnected)


def get_submitter(request: ApiRequest) -> str:
    return cast(str, request.scope["state"]["submitter"])
