"""ASGI application of all listeners: API routes, OpenAPI schema, and WebSocket for agents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from litestar import Litestar, Response, Router, route
from litestar.datastructures import State
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    ValidationException,
)
from litestar.handlers import HTTPRouteHandler

from mythjobs.errors import MythJobsError
from mythjobs.master.link.server import LinkServer, Peer
from mythjobs.master.service import Master
from mythjobs.web.network.control import Network
from mythjobs.web.routes import (
    batches,
    commands,
    jobs,
    joining,
    machines,
    maintenance,
    notifications,
    outputs,
    schedules,
    semaphores,
)
from mythjobs.web.routes.plain_submit import PlainSubmit
from mythjobs.web.routes.request import ApiRequest, check_path, check_query
from mythjobs.web.security.http_limits import LimitedConnection
from mythjobs.web.security.network_access import LINK_PATH
from mythjobs.web.server import errors
from mythjobs.web.server.errors import App, Event, Receive, Scope, Send, send_rejection
from mythjobs.web.server.openapi import make_openapi_config

# Modules with routes of the API, each in a list ROUTES.
ROUTE_MODULES: Final = (
    jobs,
    batches,
    commands,
    machines,
    joining,
    semaphores,
    schedules,
    outputs,
    maintenance,
    notifications,
)


def build_app(master: Master, links: LinkServer, network: Network) -> App:
    api: App = PlainSubmit(master, cast(Any, _build_api(master, network)))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                await answer_head(api, scope, receive, send)
            else:
                await api(scope, receive, send)
        elif scope["path"] == LINK_PATH:
            await serve_agent_link(links, scope, receive, send)
        else:
            sentence = f"there is no WebSocket at {scope['path']}"
            await send_rejection(scope, send, errors.RequestRejected(404, "not_found", sentence))

    return app


async def answer_head(api: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a HEAD request as if it were a GET, without the body (RFC 9110 §9.3.2)."""
    has_started = False

    async def send_start(event: Event) -> None:
        nonlocal has_started
        if event["type"] == "http.response.start":
            has_started = True
            await send(event)

    async def receive_until_start() -> Event:
        # As if the client had left: a body that follows a job's output would last until its end.
        return {"type": "http.disconnect"} if has_started else await receive()

    await api({**scope, "method": "GET"}, receive_until_start, send_start)
    if has_started:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def serve_agent_link(links: LinkServer, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the WebSocket of an agent (the link between master and agent)."""
    await receive()  # event websocket.connect
    await send({"type": "websocket.accept"})
    # Only connections through the Unix socket have a peer uid, which was checked; only those with
    # TLS have a fingerprint.
    state = scope["state"]
    connection: LimitedConnection = state["connection"]
    is_local, fingerprint = "peer_uid" in state, state.get("fingerprint", "")
    peer = Peer(is_local, fingerprint, connection.identify, connection.on_refused)
    # From here on the link uses the connection itself (LinkSocket), not ASGI.
    await links.serve(state["websocket"], peer)


def _build_api(master: Master, network: Network) -> Litestar:
    routes = [each for part in ROUTE_MODULES for each in part.ROUTES]
    router = Router(
        "/api/v1",
        route_handlers=[*_make_options_routes(routes), *routes],
        guards=[check_path, check_query],
    )
    return Litestar(
        [router, maintenance.get_metrics],
        request_class=ApiRequest,
        state=State({"master": master, "network": network}),
        openapi_config=make_openapi_config(),
        exception_handlers={
            MythJobsError: errors.handle_mythjobs_error,
            errors.RequestRejected: errors.handle_rejection,
            msgspec.DecodeError: errors.handle_decode_error,
            ValidationException: errors.handle_validation_error,
            InternalServerException: errors.handle_truncated_body,
            HTTPException: errors.handle_http_exception,
            OSError: errors.handle_os_error,
            Exception: errors.handle_unexpected_error,
        },
        # No limit here, because AccessControl limits body sizes.
        request_max_body_size=None,
        logging_config=None,
        debug=False,
    )


def _make_options_routes(routes: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return a route for OPTIONS of each path.

    Litestar's own OPTIONS routes have in `Allow` only the methods of the path's first route.
    Litestar adds none to a path that has one, so register the returned routes before the others.
    """
    methods: dict[str, set[str]] = {}
    for each in routes:
        for path in each.paths:
            methods.setdefault(path, {"OPTIONS"}).update(errors.with_head(each.http_methods))
    return [_make_options_route(path, ", ".join(sorted(of))) for path, of in methods.items()]


def _make_options_route(path: str, allow: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, include_in_schema=False)
    async def show_methods() -> Response[None]:
        return Response(None, headers={"allow": allow})

    return show_methods
