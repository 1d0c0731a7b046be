"""A real master with both listeners, and raw HTTP requests to them."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from mythjobs.config import keys
from mythjobs.config.state import StateDir, open_state
from mythjobs.master.service import Master
from mythjobs.web.network.sockets import bind_path, bind_port
from mythjobs.web.routes import batches
from mythjobs.web.server.listeners import Listeners

TOKEN = "t" * 43
NOTE: dict[str, Any] = {
    "name": "note",
    "argv": ["/bin/echo", "{text}"],
    "parameters": [
        {"name": "text", "type": "text", "default": "x"},
        {"name": "times", "type": "int", "default": 1},
    ],
}


@dataclass
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ServedMaster:
    state_dir: StateDir
    port: int
    path: Path
    master: Master
    # Default headers of requests through the TCP port.
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def request_tcp(
        self, method: str, path: str, body: Any = None, headers: dict[str, str | None] | None = None
    ) -> HttpResponse:
        """Send through the TCP port; headers with value None are omitted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        merged = {**self.headers, **(headers or {})}
        return await asyncio.to_thread(_send_request, connection, method, path, body, merged)

    async def api(self, method: str, path: str, body: Any = None) -> HttpResponse:
        """Send to a path below /api/v1 through the Unix socket."""
        return await self.request(method, "/api/v1" + path, body)

    async def request(self, method: str, path: str, body: Any = None) -> HttpResponse:
        """Send through the Unix socket."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.path))
        return await asyncio.to_thread(_send_request, connection, method, path, body, {})

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _send_request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any,
    headers: Mapping[str, str | None],
) -> HttpResponse:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        if data is not None and "Transfer-Encoding" not in headers:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        if data is not None:
            try:
                connection.send(data)
            except OSError:
                pass  # rejected before the body was read
        response = connection.getresponse()
        return HttpResponse(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


@asynccontextmanager
async def serve_master(root: Path) -> AsyncIterator[ServedMaster]:
    state = open_state(root / "state")
    batches.remove_stale_uploads(state.uploads)
    master = Master(state, keys.load_master_key(state), allow_local=True, local_jobs=2)
    master.start()
    port = bind_port(0)
    number: int = port.getsockname()[1]
    path = root / "sock"
    listeners = Listeners(state, master, TOKEN)
    await listeners.open(port, bind_path(path))
    collecting = asyncio.create_task(master.outputs.run())
    try:
        yield ServedMaster(state, number, path, master)
    finally:
        await listeners.close(1.0)
        collecting.cancel()
        await asyncio.wait([collecting])
        await master.close()


def run(root: Path, story: Callable[[ServedMaster], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with serve_master(root) as master:
            await story(master)

    uvloop.run(whole())
