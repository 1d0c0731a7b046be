"""Requests to the master as function calls; what goes wrong comes back as our own errors."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from mythjobs import __version__, errors
from mythjobs.client import http
from mythjobs.client.locate import Address, not_yours, nothing_runs
from mythjobs.client.paths import quote
from mythjobs.errors import BadRequest, DefinitionError, MythJobsError, Unreachable

# What the API says, as it came: docs/api.md.
Json = dict[str, Any]
Query = Mapping[str, object]

# The longest an answer may take beyond what the request itself asks to wait. A turn is done
# in milliseconds; a disk that hangs is told after this long instead of never.
PATIENCE_S: Final = 60.0
_API: Final = "/api/v1/"


class WentAway(Unreachable):
    """There was a master, and it went away before its answer was whole."""


class Client:
    """One connection a request, so nothing is ever asked on a connection that went stale."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def get(
        self,
        path: str,
        query: Query | None = None,
        *,
        wait_s: float = 0.0,
        timeout_s: float | None = PATIENCE_S,
    ) -> Json:
        """`wait_s` is how long the master itself may wait before it answers; without a timeout
        it may take as long as it likes."""
        asked = dict(query or {})
        if wait_s:
            asked["wait"] = f"{wait_s:g}"
        return self._json("GET", path, asked, b"", timeout_s and timeout_s + wait_s)

    def post(self, path: str, body: Json, *, timeout_s: float | None = PATIENCE_S) -> Json:
        return self._json("POST", path, {}, _encode(body), timeout_s)

    def delete(self, path: str) -> Json:
        return self._json("DELETE", path, {}, b"", PATIENCE_S)

    def upload(self, path: str, query: Query, chunks: Iterable[bytes]) -> Json:
        """POST a body of any length as it is made. What `chunks` raises ends the request."""
        return self._json("POST", path, query, iter(chunks), None, "application/x-ndjson")

    def stream(
        self,
        path: str,
        query: Query,
        write: Callable[[bytes], object],
        heads: Callable[[Mapping[str, str]], object] = lambda headers: None,
    ) -> None:
        """Pass the bytes of an answer on as they come; its headers go to `heads` before them."""
        with self._connect() as sock:
            answer = self._ask(sock, "GET", path, query, b"", "")
            sock.settimeout(None)
            if answer.status >= 400:
                raise _error(answer.status, self._read(answer))
            heads(answer.headers)
            chunks = answer.chunks
            while True:
                try:
                    chunk = next(chunks, None)
                except OSError as error:
                    raise self._went_away(error) from error
                if chunk is None:
                    return
                write(chunk)

    def _json(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | Iterator[bytes],
        timeout_s: float | None,
        kind: str = "application/json",
    ) -> Json:
        with self._connect() as sock:
            sock.settimeout(timeout_s)
            answer = self._ask(sock, method, path, query, body, kind)
            data = self._read(answer)
        if answer.status >= 400:
            raise _error(answer.status, data)
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise errors.ProtocolError(f"{self._address.said} does not answer like a master")
        return value

    def _connect(self) -> socket.socket:
        address = self._address
        family = socket.AF_UNIX if address.socket else socket.AF_INET
        if ":" in address.host:
            family = socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # With a timeout set, connect(2) would fail at once where the backlog is full.
            sock.connect(address.socket or (address.host, address.port))
        except PermissionError:
            sock.close()
            raise not_yours(address.said) from None
        except OSError:
            sock.close()
            raise nothing_runs(address.said) from None
        return sock

    def _ask(
        self,
        sock: socket.socket,
        method: str,
        path: str,
        query: Query,
        body: bytes | Iterator[bytes],
        kind: str,
    ) -> http.Answer:
        headers = {"Host": "localhost", "User-Agent": f"mythjobs/{__version__}"}
        if body or not isinstance(body, bytes):
            headers["Content-Type"] = kind
        if self._address.token:
            headers["Authorization"] = f"Bearer {self._address.token}"
        try:
            return http.ask(sock, method, _API + _target(path, query), headers, body)
        except OSError as error:
            raise self._went_away(error) from error

    def _read(self, answer: http.Answer) -> bytes:
        try:
            return answer.read()
        except OSError as error:
            raise self._went_away(error) from error

    def _went_away(self, error: OSError) -> WentAway:
        if isinstance(error, TimeoutError):
            return WentAway(f"the master on {self._address.said} does not answer")
        return WentAway(
            f"the master on {self._address.said} went away before it answered; "
            f"whether it did what was asked is not known"
        )


def _target(path: str, query: Query) -> str:
    parts = []
    for name, given in query.items():
        for value in given if isinstance(given, list | tuple) else (given,):
            if isinstance(value, bool):
                value = "true" if value else "false"
            if value is not None:
                parts.append(f"{name}={quote(str(value))}")
    return f"{path}?{'&'.join(parts)}" if parts else path


def _encode(body: Json) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # a figure that is not finite, or text with half a character
        raise BadRequest(f"the request cannot be written as JSON: {error}") from None


def _error(status: int, data: bytes) -> MythJobsError:
    """The master's error as the class it was raised as, so that the exit code is the same."""
    try:
        said = json.loads(data)
        code, sentence = said["code"], said["message"]
        exit_code = said.get("exit")
    except (ValueError, TypeError, KeyError):
        code, sentence, exit_code = "", f"the master answered with HTTP status {status}", None
    found = _by_code().get(code)
    if found is None:
        known = [each for each in _by_code().values() if each.exit_code == exit_code]
        found = known[0] if known else BadRequest if 400 <= status < 500 else MythJobsError
    return DefinitionError("", sentence) if found is DefinitionError else found(sentence)


def _by_code() -> dict[str, type[MythJobsError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {each.code: each for each in classes if issubclass(each, MythJobsError)}
