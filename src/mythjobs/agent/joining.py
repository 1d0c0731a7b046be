"""Joining a master on the network, with a token or with six words that a person compares."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from mythjobs.config import certificates, keys, network, tls_client
from mythjobs.config.network import JoinedMaster
from mythjobs.config.state import StateDir
from mythjobs.errors import BadRequest, Conflict, NotAllowed, Unreachable
from mythjobs.protocol import handshake, joining
from mythjobs.protocol.joining import Endpoint, JoinToken

_TIMEOUT_S: Final = 10.0
_MAX_RESPONSE_BYTES: Final = 64 * 1024
POLL_S: Final = 1.0


class Join(NamedTuple):
    """Result of a join: the machine's name at the master, and the address that answered.

    is_new: false if the machine had joined before.
    """

    name: str
    endpoint: Endpoint
    is_new: bool = True


def join_with_token(state: StateDir, token: JoinToken, name: str) -> Join:
    """Join the master that issued a token; store its address, key and authority.

    Raises Unreachable, NotAllowed, BadRequest, Conflict.
    """
    _check_no_master(state)
    endpoint, authority = _fetch_authority(token.endpoints)
    if joining.compute_pin(certificates.decode_certificate(authority)) != token.pin:
        # Stop before the secret is sent.
        raise NotAllowed(
            f"the program at {endpoint} is not the master that issued this token; check the "
            "address, or ask for a new token with `mythjobs machine invite`"
        )
    master = _Connection(endpoint, tls_client.make_client_context(authority))
    joined = master.post(
        "token",
        {
            "invitation": token.token_id,
            "secret": token.secret.hex(),
            "machine_key": _load_public_key(state),
            "name": name,
        },
    )
    others = [each for each in token.endpoints if each != endpoint]
    return _store(state, joined, [endpoint, *others], authority)


def join_with_code(
    state: StateDir,
    endpoint: Endpoint,
    name: str,
    show: Callable[[tuple[str, ...]], None],
    pause: Callable[[], None],
) -> Join:
    """Ask a master to let this machine join; wait until a person answers there.

    show: called with the six words. pause: called between two requests for the answer.
    Raises Unreachable, NotAllowed if the request is rejected or not answered within ten minutes,
    BadRequest, Conflict.
    """
    _check_no_master(state)
    _, authority = _fetch_authority((endpoint,))
    master = _Connection(endpoint, tls_client.make_client_context(authority))
    key, nonce = _load_public_key(state), secrets.token_bytes(joining.NONCE_BYTES)
    opened = master.post(
        "requests",
        {"machine_key": key, "name": name, "commitment": joining.commit_to_nonce(nonce)},
    )
    master_nonce = bytes.fromhex(opened["nonce"])
    path = f"requests/{opened['id']}"
    master.post(path, {"nonce": nonce.hex()})
    show(
        joining.compute_verification_code(
            certificates.decode_certificate(authority), key, nonce, master_nonce
        )
    )
    while True:
        answer = master.get(path)
        if answer["state"] == "approved":
            return _store(state, answer["joined"], [endpoint], authority)
        if answer["state"] == "rejected":
            raise NotAllowed("the owner of the master has rejected this machine")
        pause()


class _Connection:
    """Requests to a master under /api/v1/join, one TLS connection each.

    They raise Unreachable, NotAllowed for a certificate of another authority, and the error with
    which the master answers.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._endpoint = endpoint
        self._context = context

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        return json.loads(self.request("POST", path, json.dumps(body).encode()))

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path, None))

    def request(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPSConnection(
            self._endpoint.host, self._endpoint.port, timeout=_TIMEOUT_S, context=self._context
        )
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            connection.request(method, f"/api/v1/join/{path}", body, headers)
            response = connection.getresponse()
            data = response.read(_MAX_RESPONSE_BYTES)
        except ssl.SSLCertVerificationError:
            raise NotAllowed(
                f"the master at {self._endpoint} has another authority than a moment ago: "
                "another program answers in its place; nothing was joined"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"cannot reach a master at {self._endpoint} ({error or type(error).__name__}); "
                "check that `mythjobs lan status` there shows this address, and firewalls between"
            ) from None
        finally:
            connection.close()
        if response.status not in (200, 201):
            raise _read_rejection(self._endpoint, response.status, data)
        return data


def _fetch_authority(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, bytes]:
    """Return the first endpoint that answers, and the certificate of its authority (PEM), which
    the caller must verify. Raises Unreachable if none answers."""
    context = tls_client.make_unverified_context()
    failures: list[str] = []
    for endpoint in endpoints:
        try:
            return endpoint, _Connection(endpoint, context).request("GET", "authority", None)
        except Unreachable as error:
            failures.append(error.sentence)
    raise Unreachable("; ".join(failures))


def _read_rejection(endpoint: Endpoint, status: int, data: bytes) -> Exception:
    try:
        body = json.loads(data)
        sentence, code = str(body["message"]), body["code"]
    except (ValueError, KeyError, TypeError):
        return Unreachable(f"the program at {endpoint} is not a mythjobs master (HTTP {status})")
    kinds = {"not_allowed": NotAllowed, "conflict": Conflict}
    return kinds.get(code, BadRequest)(sentence)


def _store(state: StateDir, joined: Any, endpoints: list[Endpoint], authority: bytes) -> Join:
    try:
        name, master_key = str(joined["name"]), str(joined["master_key"])
    except (KeyError, TypeError):
        raise Unreachable(f"the master at {endpoints[0]} sent an incomplete answer") from None
    master = JoinedMaster([str(each) for each in endpoints], master_key, authority.decode())
    network.write_joined_master(state.agent, master)
    # A master of an older version does not say whether the machine is new.
    return Join(name, endpoints[0], joined.get("new", True) is not False)


def _load_public_key(state: StateDir) -> str:
    state.agent.root.mkdir(mode=0o700, exist_ok=True)
    return handshake.encode_public_key(keys.load_or_create_key(state.agent.key))


def _check_no_master(state: StateDir) -> None:
    if state.store.exists() or state.master_lock.exists():
        raise Conflict(
            f"{state.root} is the state directory of a master; to let this machine work for "
            "another one, give `mythjobs agent join` and `mythjobs agent` another --state-dir"
        )
