"""HTTP requests to a MythTV backend: logins, and limits of what one answer may take.

Two logins exist. MythTV 36 and newer give a token for user and password (`Myth/LoginUser`), which
is the whole header Authorization; an invalid one is refused even if no login is required. Versions
before 32 ask for HTTP digest authentication (RFC 7616) where their setting HTTP/Protected/Urls
protects a service; a proxy before the backend may do so too.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from html import unescape
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from mythjobs.errors import BadRequest, NotAllowed, ProtocolError, Unreachable
from mythjobs.mythtv.json_values import parse_object

if TYPE_CHECKING:
    import httpx

# Of each read, and of a whole request with its answer.
_READ_TIMEOUT_S: Final = 15.0
REQUEST_TIMEOUT_S: Final = 60.0
# The longest answer is the list of all jobs and scheduled recordings: 2 kB for each.
MAX_ANSWER_BYTES: Final = 64 * 2**20
_MAX_PAGE_BYTES: Final = 2**20
_MAX_REDIRECTS: Final = 3
_TITLE: Final = re.compile(r"<TITLE>(.*?)</TITLE>", re.IGNORECASE | re.DOTALL)
_LOGIN: Final = "Myth/LoginUser"


class _Call(NamedTuple):
    """A call of the Services API. verb: `GET` or `POST`; method: like `Content/GetFile`."""

    verb: str
    method: str
    parameters: Mapping[str, object]
    headers: Mapping[str, str]


class Transport:
    """HTTP to one backend, for any number of threads.

    All methods raise Unreachable if the backend does not answer in time, NotAllowed if it wants
    another login, BadRequest if it refuses the request, ProtocolError if it sends too much.
    """

    def __init__(self, host: str, port: int, *, user: str, password: str, timeout_s: float) -> None:
        import httpx

        self.label = f"{host}:{port}"
        self._user, self._password = user, password
        self._timeout_s = timeout_s
        self._token = ""
        self._has_digest = False
        self._login_lock = threading.Lock()
        name = f"[{host}]" if ":" in host else host
        self._http = httpx.Client(
            base_url=f"http://{name}:{port}",
            # Without Accept the answer is XML. Files must not be compressed.
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
            timeout=_READ_TIMEOUT_S,
            # The backend may close a kept connection at the instant of the next request.
            limits=httpx.Limits(max_keepalive_connections=0),
            # A proxy of the environment is for the internet, not for the local network.
            trust_env=False,
            # There is no TLS, and loading the certificates takes 0.2 s.
            verify=False,
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        verb: str,
        method: str,
        parameters: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a request and return the body of its answer. Status 416 is no error."""
        with _Deadline(self._timeout_s) as deadline:
            response = self._open(_Call(verb, method, parameters, headers or {}), deadline)
            try:
                return self._read(response, MAX_ANSWER_BYTES, method, deadline)
            finally:
                response.close()

    def open_stream(
        self, method: str, parameters: Mapping[str, object], headers: Mapping[str, str]
    ) -> httpx.Response:
        """Return the open response of a file; the caller closes it. Status 416 is no error."""
        with _Deadline(self._timeout_s) as deadline:
            return self._open(_Call("GET", method, parameters, headers), deadline)

    def _open(self, call: _Call, deadline: _Deadline) -> httpx.Response:
        """Send a request, and again after a login if the backend wants one."""
        used = self._token
        response = self._send(call, deadline)
        if response.status_code == 401:
            wants_digest = "digest" in response.headers.get("WWW-Authenticate", "").lower()
            response.close()
            self._log_in(call.method, used, deadline, wants_digest=wants_digest)
            response = self._send(call, deadline)
        if response.status_code >= 400 and response.status_code != 416:
            try:
                self._raise_refusal(response, call.method, deadline)
            finally:
                response.close()
        return response

    def _send(self, call: _Call, deadline: _Deadline) -> httpx.Response:
        import httpx

        verb, method, parameters, headers = call
        values = {key: str(value) for key, value in parameters.items()}
        # Colons of times stay as they are; the backend's own programs send them so.
        query = urlencode(values, quote_via=quote, safe=":") if verb == "GET" and values else ""
        request = self._http.build_request(
            verb,
            f"/{method}?{query}" if query else f"/{method}",
            data=values if verb == "POST" else None,
            headers={**headers, **({"Authorization": self._token} if self._token else {})},
            extensions={"trace": deadline.trace},
        )
        # A challenge belongs to one request: httpx counts its uses without a lock.
        digest = httpx.DigestAuth(self._user, self._password) if self._has_digest else None
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                response = self._http.send(request, stream=True, auth=digest)
                if not response.is_redirect:
                    return response
                response.close()
                # `Content/GetRecording` leads to the backend with the file. What is posted, as a
                # password, is for this backend only.
                if verb != "GET" or response.next_request is None:
                    break
                request = response.next_request
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._explain_break(error, deadline) from None
        raise ProtocolError(f"{self.label} leads {method} to another address")

    def _read(
        self, response: httpx.Response, limit_bytes: int, method: str, deadline: _Deadline
    ) -> bytes:
        import httpx

        found = bytearray()
        try:
            # As it arrives: a compressed answer, which was not asked for, could be of any size.
            for chunk in response.iter_raw():
                found += chunk
                if len(found) > limit_bytes:
                    raise ProtocolError(
                        f"{self.label} answers {method} with over {limit_bytes >> 20} MiB, which "
                        "no MythTV backend does"
                    )
        except httpx.TransportError as error:
            raise self._explain_break(error, deadline) from None
        return bytes(found)

    def _explain_break(self, error: Exception, deadline: _Deadline) -> Unreachable:
        why = str(error) or type(error).__name__
        if deadline.has_expired:
            why = f"no whole answer in {self._timeout_s:g} s"
        return Unreachable(
            f"the Services API of the MythTV backend {self.label} does not answer ({why})"
        )

    def _log_in(self, method: str, used: str, deadline: _Deadline, *, wants_digest: bool) -> None:
        """Get a token, or answer challenges from now on.

        used: the token that was refused; "" if none was sent.
        """
        if not self._user:
            self._token = ""
            if used:
                # A token from before a restart of the backend is refused even if no login is
                # required.
                return
            raise NotAllowed(
                f"the MythTV backend {self.label} requires a login for {method}; run "
                "`mythjobs mythtv setup --user NAME`"
            )
        if wants_digest:
            if self._has_digest:
                raise self._refused_login()
            self._has_digest = True
            return
        with self._login_lock:
            if self._token != used:
                return  # another thread has logged in
            self._token = ""
            self._token = self._fetch_token(deadline)

    def _fetch_token(self, deadline: _Deadline) -> str:
        values = {"UserName": self._user, "Password": self._password}
        response = self._send(_Call("POST", _LOGIN, values, {}), deadline)
        try:
            if response.status_code == 404:
                raise NotAllowed(
                    f"the MythTV backend {self.label} requires a login of a kind that mythjobs "
                    "does not know (it has no Myth/LoginUser, and asks for no digest); exempt "
                    "this machine from it, as with APIAuthReqd = NONE or in the proxy before it"
                )
            found = parse_object(self._read(response, _MAX_PAGE_BYTES, _LOGIN, deadline)) or {}
        finally:
            response.close()
        # A wrong password is answered by an empty token.
        token = str(found.get("String") or "") if response.status_code == 200 else ""
        if not token.isascii() or not token.isprintable() or not token:
            raise self._refused_login()
        return token

    def _refused_login(self) -> NotAllowed:
        return NotAllowed(
            f'the MythTV backend {self.label} refuses the login of the user "{self._user}"; '
            "correct it with `mythjobs mythtv setup --user NAME`"
        )

    def _raise_refusal(self, response: httpx.Response, method: str, deadline: _Deadline) -> None:
        if response.status_code == 401 and self._has_digest:
            raise self._refused_login()
        body = self._read(response, _MAX_PAGE_BYTES, method, deadline).decode("utf-8", "replace")
        found = _TITLE.search(body)
        why = unescape(found[1]).strip() if found else f"HTTP status {response.status_code}"
        if response.status_code in (401, 403):
            raise NotAllowed(f"the MythTV backend {self.label} refuses {method}: {why}")
        if response.status_code >= 500:
            raise Unreachable(f"the MythTV backend {self.label} failed at {method}: {why}")
        raise BadRequest(f"the MythTV backend {self.label} refuses {method}: {why}")


class _Deadline:
    """Breaks the connection of a request that takes too long as a whole.

    The timeouts of httpx are those of single reads: a backend that sends a byte before each of them
    would hold its caller for ever.
    """

    def __init__(self, timeout_s: float) -> None:
        self.has_expired = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(timeout_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, found: Mapping[str, Any]) -> None:
        """Learn the socket; httpx calls it at each step of a request."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            self._socket = found["return_value"].get_extra_info("socket")
            self._break()

    def _expire(self) -> None:
        with self._lock:
            self.has_expired = True
            self._break()

    def _break(self) -> None:
        if self.has_expired and self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
