"""ASGI application of both listeners: API routes, OpenAPI schema, and the agents' link."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    ValidationException,
)
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

import mythjobs
from mythjobs.errors import MythJobsError
from mythjobs.master.link.server import LinkServer
from mythjobs.master.service import Master
from mythjobs.web.routes import (
    batches,
    commands,
    jobs,
    machines,
    maintenance,
    outputs,
    semaphores,
)
from mythjobs.web.routes.agent_link import serve_agent_link
from mythjobs.web.routes.request import ApiRequest
from mythjobs.web.server import errors
from mythjobs.web.server.errors import App, Receive, Scope, Send, send_rejection

LINK_PATH: Final = "/link"
# Each module defines ROUTES.
ROUTE_MODULES: Final = (jobs, batches, commands, machines, semaphores, outputs, maintenance)


def build_app(master: Master, links: LinkServer) -> App:
    api: Any = _build_api(master)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await api(scope, receive, send)
        elif scope["path"] == LINK_PATH:
            await serve_agent_link(links, scope, receive, send)
        else:
            sentence = f"there is no WebSocket at {scope['path']}"
            await send_rejection(scope, send, errors.RequestRejected(404, "not_found", sentence))

    return app


def _build_api(master: Master) -> Litestar:
    routes = [route for part in ROUTE_MODULES for route in part.ROUTES]
    router = Router("/api/v1", route_handlers=routes)
    return Litestar(
        [router],
        request_class=ApiRequest,
        state=State({"master": master}),
        openapi_config=_openapi_config(),
        exception_handlers={
            MythJobsError: errors.handle_mythjobs_error,
            errors.RequestRejected: errors.handle_rejection,
            msgspec.DecodeError: errors.handle_decode_error,
            ValidationException: errors.handle_validation_error,
            InternalServerException: errors.handle_truncated_body,
            HTTPException: errors.handle_http_exception,
            Exception: errors.handle_unexpected_error,
        },
        # AccessControl limits body sizes.
        request_max_body_size=None,
        logging_config=None,
        debug=False,
    )


def _openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="mythjobs",
        version=mythjobs.__version__,
        path="/api",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"token": []}],
    )
