"""Services that receive messages, on the loopback address: an HTTP server and an SMTP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpService:
    """Keeps the bodies of POST requests in `received`, and the paths of GET requests in `called`.

    status: of the answers. The condition of wait_until() is tested after each request.
    """

    def __init__(self) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.called: list[str] = []
        self._changed = threading.Condition()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service._add(service.received, body)
                self._answer()

            def do_GET(self) -> None:
                service._add(service.called, self.path)
                self._answer()

            def _answer(self) -> None:
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])

    def _add(self, to: list[Any], item: Any) -> None:
        with self._changed:
            to.append(item)
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), (self.received, self.called)


@contextmanager
def http_service() -> Iterator[HttpService]:
    service = HttpService()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        thread.join()
        service.server.server_close()


class SmtpService:
    """Accepts any mail (RFC 5321) and keeps it in `mails`, as text."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SmtpService:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        with suppress(ConnectionError):
            while line := await reader.readline():
                command = line.split()[0].upper() if line.split() else b""
                if command == b"DATA":
                    writer.write(b"354 send\r\n")
                    mail = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append(mail.decode())
                writer.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
                await writer.drain()
                if command == b"QUIT":
                    break
        writer.close()
