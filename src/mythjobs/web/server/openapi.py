"""OpenAPI document: error responses of the routes, and bodies that are not JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
    SecurityScheme,
)

import mythjobs
from mythjobs.errors import MythJobsError
from mythjobs.protocol.output_frames import MEDIA_TYPE as FRAMES
from mythjobs.web.server.errors import ErrorBody

# Error codes by HTTP status that every route may return, from the HTTP parser, AccessControl or
# the store.
_CODES: Final[dict[int, tuple[str, ...]]] = {
    400: ("bad_request", "bad_definition"),
    401: ("not_allowed",),
    403: ("not_allowed", "foreign_origin"),
    413: ("too_large",),
    415: ("encoded",),
    421: ("misdirected",),
    500: ("internal", "store_failed"),
    503: ("unreachable", "store_away"),
}


def error_responses(*errors: type[MythJobsError]) -> dict[int, ResponseSpec]:
    """Return the error responses to document for a route that raises `errors`, by HTTP status."""
    codes = {status: list(each) for status, each in _CODES.items()}
    for error in errors:
        codes.setdefault(error.http, []).append(error.code)
    return {
        status: ResponseSpec(
            ErrorBody, generate_examples=False, description=" or ".join(f"`{each}`" for each in of)
        )
        for status, of in codes.items()
    }


@dataclass
class BytesOperation(Operation):
    """OpenAPI operation whose response body is raw bytes or frames, and whose headers are
    integers."""

    def __post_init__(self) -> None:
        success = (self.responses or {})["200"]
        assert isinstance(success, OpenAPIResponse)
        success.content = {
            "application/octet-stream": OpenAPIMediaType(schema=Schema()),
            FRAMES: OpenAPIMediaType(schema=Schema()),
        }
        for header in (success.headers or {}).values():
            # Litestar gives a header without a value no schema, which OpenAPI requires.
            assert isinstance(header, OpenAPIHeader)
            header.schema = Schema(type=OpenAPIType.INTEGER)


@dataclass
class LinesOperation(Operation):
    """OpenAPI operation whose request body is JSON lines, which the route reads as a stream."""

    def __post_init__(self) -> None:
        lines = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        self.request_body = RequestBody(content={"application/x-ndjson": lines}, required=True)


def make_openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="mythjobs",
        version=mythjobs.__version__,
        openapi_router=Router(
            "/api", route_handlers=[], include_in_schema=False, after_request=_reject_page
        ),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"token": []}],
    )


async def _reject_page(response: Response[Any]) -> Response[Any]:
    """Answer an unknown path below /api with an error in JSON, not Litestar's HTML page."""
    if response.status_code == 404:
        raise NotFoundException
    return response
