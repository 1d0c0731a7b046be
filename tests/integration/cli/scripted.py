"""A scripted master that listens on a socket in its own state directory."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from mythjobs import __version__

SRC = Path(__file__).resolve().parents[3] / "src"


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    target: str  # path and query, unparsed

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    """A body in chunks; `whole` false omits the last one, like a master that dies."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    chunks: tuple[bytes, ...] = ()
    whole: bool = True


# A reply, a JSON body with status 200, or a function of the request that returns either.
Answer = Reply | dict[str, Any] | Callable[[Request], "Reply | dict[str, Any]"]


def write_editor(path: Path, script: str) -> str:
    """Write a program whose second argument is the file to edit. Return a value of $EDITOR."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{path} --wait"


def error(status: int, code: str, message: str, exit_code: int = 2) -> Reply:
    body = json.dumps({"code": code, "message": message, "exit": exit_code}).encode()
    return Reply(status, {}, (body,))


class Master:
    """`answers` maps "GET jobs/7" to an answer, or to a list with one for each call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.requests: list[Request] = []

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.path}")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer) and not isinstance(answer, Reply):
            answer = answer(request)
        if isinstance(answer, dict):
            return Reply(200, {}, (json.dumps(answer).encode(),))
        return answer or error(404, "not_found", f"nothing at {request.method} {request.path}")

    def write_info(self, version: str) -> None:
        """Write master.json, as a master of this version does."""
        path = str(self.root / "master.sock")
        info = {"pid": 1, "address": "127.0.0.1", "port": 1, "socket": path, "version": version}
        (self.root / "master.json").write_text(json.dumps(info))

    def run(self, *arguments: str, **facts: Any) -> subprocess.CompletedProcess[bytes]:
        """Run the command line as a process."""
        return subprocess.run(
            self.command(*arguments), env=environment(), capture_output=True, check=False, **facts
        )

    def run_raw(self, arguments: list[bytes], **more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(arguments, env=environment(**more), capture_output=True, check=False)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "mythjobs", "--state-dir", str(self.root), *arguments]


def environment(**more: str) -> dict[str, str]:
    # Only these variables: others of the caller could change colours or the state directory.
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(SRC), **more}


@contextmanager
def scripted_master(root: Path) -> Iterator[Master]:
    master = Master(root)
    path = root / "master.sock"

    class Handler(_Handler):
        scripted = master

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # some tests close the connection

    with Server(str(path), Handler) as server:
        master.write_info(__version__)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield master
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    scripted: Master
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.client_address = ("local", 0)
        super().handle_one_request()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            parts.path.removeprefix("/api/v1/"),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers,
            self._body(headers),
            self.path.removeprefix("/api/v1/"),
        )
        reply = self.scripted.reply(request)
        self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in reply.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if reply.whole:
            self.wfile.write(b"0\r\n\r\n")

    do_POST = do_DELETE = do_GET

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
