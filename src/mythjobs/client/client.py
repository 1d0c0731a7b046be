"""Client of the master's HTTP API; error responses are raised as MythJobsError."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from mythjobs import __version__, errors
from mythjobs.client import http
from mythjobs.client.api_paths import percent_encode
from mythjobs.client.locate import Address, not_allowed_error, unreachable_error
from mythjobs.errors import BadRequest, DefinitionError, MythJobsError, Unreachable

# A response body of the API (docs/api.md).
Json = dict[str, Any]
Query = Mapping[str, object]

# Default timeout of a response, in addition to the wait that the request asks for. The master
# answers within milliseconds; only one whose disk hangs needs longer.
TIMEOUT_S: Final = 60.0
_UNAUTHORIZED: Final = 401
_API: Final = "/api/v1/"
# Codes of the errors with which a master refuses a route, a parameter, a field or a key that its
# version does not know.
_UNKNOWN_TO_MASTER: Final = frozenset(
    ("bad_request", "bad_definition", "not_found", "method_not_allowed")
)


class ConnectionLost(Unreachable):
    """The master was reached, but the connection ended before the response was complete."""


class MissingField(errors.ProtocolError, KeyError):
    """A response lacks a field, as responses of another version may."""


class _Response(dict[str, Any]):
    """JSON object of a response. What its reader needs and does not find raises MissingField."""

    __slots__ = ("_of_master",)

    def __init__(self, table: Json, of_master: str) -> None:
        super().__init__(table)
        self._of_master = of_master

    def __missing__(self, name: str) -> Any:
        if self._of_master not in ("", __version__):
            versions = describe_versions(self._of_master)
        else:
            of_master = "" if self._of_master else ", the master perhaps of another version"
            versions = (
                f"this program is mythjobs {__version__}{of_master}: restart the master, and "
                "report this if it does not help"
            )
        raise MissingField(f'the response of the master has no field "{name}" ({versions})')


class Client:
    """Client of one master. Each request has its own connection, because the master may have closed
    the connection of an earlier request."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def describe_difference(self) -> str:
        """Return how the versions of master and program differ, "" if that is not known."""
        version = self._address.version
        return "" if version in ("", __version__) else describe_versions(version)

    def get(
        self,
        path: str,
        query: Query | None = None,
        *,
        wait_s: float = 0.0,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Json:
        """Send a GET request. The master may wait `wait_s` for a change before it responds.

        timeout_s: in addition to `wait_s`; None for no timeout.
        """
        parameters = dict(query or {})
        if wait_s:
            parameters["wait"] = f"{wait_s:g}"
        return self._request_json("GET", path, parameters, b"", timeout_s and timeout_s + wait_s)

    def post(self, path: str, body: Json, *, timeout_s: float | None = TIMEOUT_S) -> Json:
        return self._request_json("POST", path, {}, _encode(body), timeout_s)

    def delete(self, path: str) -> Json:
        return self._request_json("DELETE", path, {}, b"", TIMEOUT_S)

    def upload(self, path: str, query: Query, chunks: Iterable[bytes]) -> Json:
        """Send a POST request with a chunked body. An exception of `chunks` aborts the request."""
        return self._request_json("POST", path, query, iter(chunks), None, "application/x-ndjson")

    def stream(
        self,
        path: str,
        query: Query,
        write: Callable[[bytes], object],
        on_headers: Callable[[Mapping[str, str]], object] = lambda headers: None,
    ) -> None:
        """Pass the response's headers to `on_headers`, then its body to `write` as it arrives.

        path: below that of the API, or a whole one that begins with a slash.
        """
        with self._connect() as sock:
            response = self._send_request(sock, "GET", path, query, b"", "")
            sock.settimeout(None)
            if response.status >= 400:
                raise self._parse_error(response.status, self._read_body(response))
            on_headers(response.headers)
            chunks = response.chunks
            while True:
                try:
                    chunk = next(chunks, None)
                except OSError as error:
                    raise self._connection_lost(error) from error
                if chunk is None:
                    return
                write(chunk)

    def _request_json(
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
            response = self._send_request(sock, method, path, query, body, kind)
            data = self._read_body(response)
        if response.status >= 400:
            raise self._parse_error(response.status, data)
        version = self._address.version
        try:
            value = json.loads(data, object_hook=lambda table: _Response(table, version))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise errors.ProtocolError(
                f"{self._address.label} did not respond like a mythjobs master"
            )
        return value

    def _connect(self) -> socket.socket:
        address = self._address
        family = socket.AF_UNIX if address.socket else socket.AF_INET
        if ":" in address.host:
            family = socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Connect before a timeout is set. A timeout makes the socket non-blocking, and then
            # connect(2) fails at once while the listener's backlog is full.
            sock.connect(address.socket or (address.host, address.port))
        except PermissionError:
            sock.close()
            raise not_allowed_error(address.label) from None
        except OSError:
            sock.close()
            raise unreachable_error(address.label) from None
        return sock

    def _send_request(
        self,
        sock: socket.socket,
        method: str,
        path: str,
        query: Query,
        body: bytes | Iterator[bytes],
        kind: str,
    ) -> http.Response:
        headers = {"Host": "localhost", "User-Agent": f"mythjobs/{__version__}"}
        if body or not isinstance(body, bytes):
            headers["Content-Type"] = kind
        if self._address.token:
            headers["Authorization"] = f"Bearer {self._address.token}"
        prefix = "" if path.startswith("/") else _API
        try:
            return http.send_request(
                sock, method, prefix + _format_target(path, query), headers, body
            )
        except OSError as error:
            raise self._connection_lost(error) from error

    def _read_body(self, response: http.Response) -> bytes:
        try:
            return response.read()
        except OSError as error:
            raise self._connection_lost(error) from error

    def _parse_error(self, status: int, data: bytes) -> MythJobsError:
        """Return the exception for an error response, of the class that the master raised.

        The class determines the exit code of the command line. If the master is of another version,
        which may be the cause, the sentence says so.
        """
        try:
            body = json.loads(data)
            code, sentence = body["code"], body["message"]
            exit_code = body.get("exit")
        except (ValueError, TypeError, KeyError):
            code, sentence, exit_code = "", f"the master responded with HTTP status {status}", None
        if status == _UNAUTHORIZED and self._address.token:
            sentence = (
                f"the master at {self._address.label} refuses the token; name the file `token` of "
                "its state directory with MYTHJOBS_TOKEN_FILE"
            )
        if code in _UNKNOWN_TO_MASTER and (difference := self.describe_difference()):
            sentence = f"{sentence} ({difference})"
        found = _find_error_classes().get(code)
        if found is None:
            known = [each for each in _find_error_classes().values() if each.exit_code == exit_code]
            found = known[0] if known else BadRequest if 400 <= status < 500 else MythJobsError
        return DefinitionError("", sentence) if found is DefinitionError else found(sentence)

    def _connection_lost(self, error: OSError) -> ConnectionLost:
        if isinstance(error, TimeoutError):
            return ConnectionLost(f"the master at {self._address.label} does not respond")
        return ConnectionLost(
            f"lost the connection to the master at {self._address.label} before its response; the "
            "request may have been processed"
        )


def _format_target(path: str, query: Query) -> str:
    parts = []
    for name, given in query.items():
        for value in given if isinstance(given, list | tuple) else (given,):
            if isinstance(value, bool):
                value = "true" if value else "false"
            if value is not None:
                parts.append(f"{name}={percent_encode(str(value))}")
    return f"{path}?{'&'.join(parts)}" if parts else path


def _encode(body: Json) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # a number that is not finite, or a lone surrogate
        raise BadRequest(f"cannot encode the request as JSON: {error}") from None


def describe_versions(of_master: str) -> str:
    """Return how the versions of a master and of this program differ, and what to do."""
    return (
        f"the master runs mythjobs {of_master} and this program is {__version__}: restart the "
        f"master, or use mythjobs {of_master}"
    )


def _find_error_classes() -> dict[str, type[MythJobsError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {each.code: each for each in classes if issubclass(each, MythJobsError)}
