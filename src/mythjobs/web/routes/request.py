"""Request class of the routes (strict JSON decoding), check of query parameters, and access to
master and submitter."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import ParamType
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

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


def check_path(request: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Raises NotFoundException for an id in another form than its decimal digits.

    Litestar reads it with int(), which also takes digits of other scripts, signs and underscores.
    """
    for value in request.path_params.values():
        if isinstance(value, int) and str(value) not in request.scope["path"].split("/"):
            raise NotFoundException


def check_query(request: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises BadRequest for a query parameter that the route does not have, or that is repeated.

    Litestar ignores these, and a misspelt filter would then select all jobs.
    """
    if not request.scope.get("query_string") or "OPTIONS" in getattr(handler, "http_methods", ()):
        return
    known = _query_parameters(handler)
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            names = f"known are {', '.join(known)}" if known else "it has none"
            raise BadRequest(f'the request has no parameter "{name}"; {names}')
        if name in seen and not known[name]:
            raise BadRequest(f"{name}: is given twice")
        seen.add(name)


@lru_cache(128)
def _query_parameters(handler: BaseRouteHandler) -> dict[str, bool]:
    """Return the names of a route's query parameters, and whether they may be repeated."""
    return {
        each.kwarg_definition.name or name: each.is_non_string_sequence
        for name, each in handler.parsed_fn_signature.parameters.items()
        if isinstance(each.kwarg_definition, ParameterKwarg)
        and each.kwarg_definition.param_type == ParamType.QUERY
    }


def get_master(request: ApiRequest) -> Master:
    return cast(Master, request.app.state.master)


def get_disconnect(request: ApiRequest) -> asyncio.Future[None]:
    """Return a future that completes when the client disconnects."""
    return cast("asyncio.Future[None]", request.scope["state"]["connection"].disconnected)


def get_submitter(request: ApiRequest) -> str:
    return cast(str, request.scope["state"]["submitter"])
