"""Routes with which machines join over the network, and with which their owner controls that."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final, Literal, cast

from litestar import MediaType, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from mythjobs.clock import master_now
from mythjobs.config.certificates import decode_certificate
from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    Conflict,
    NoSuchCommand,
    NoSuchJoinRequest,
    NoSuchMachine,
    NotAllowed,
)
from mythjobs.master import requests
from mythjobs.master.handlers.joining import check_key
from mythjobs.master.requests import JoinedMachine, RevokedMachine
from mythjobs.master.service import Master
from mythjobs.model.names import check_machine_name
from mythjobs.protocol import handshake, joining
from mythjobs.protocol import joining_responses as responses
from mythjobs.web.network.control import Network
from mythjobs.web.routes.request import ApiRequest, get_master
from mythjobs.web.security.http_limits import LimitedConnection
from mythjobs.web.server.openapi import error_responses

log = logging.getLogger(__name__)
_MAX_INVITATION_S: Final = 7 * 86_400.0
_REFUSED: Final = (
    "the join token is not valid: it was used, it has expired, or it is of another master; run "
    "`mythjobs machine invite` again"
)


class NetworkChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the master listens on the network."""

    open: bool


class Invitation(Struct, frozen=True, forbid_unknown_fields=True):
    """Invitation of one machine. allow: commands that it may run. name: "" is its host name.
    for_s: seconds for which the invitation is valid."""

    allow: Literal["all"] | list[str] = "all"
    name: str = ""
    for_s: float = 3600.0


class Approval(Struct, frozen=True, forbid_unknown_fields=True):
    """Answer to a machine's join request. allow: commands that it may run."""

    approve: bool
    allow: Literal["all"] | list[str] = "all"


class NewName(Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class TokenJoin(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine joins with a token. secret and machine_key in hex."""

    invitation: int
    secret: str
    machine_key: str
    name: str


class CodeJoin(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine asks to join. commitment: hash of the nonce that it will reveal, in hex."""

    machine_key: str
    name: str
    commitment: str


class Reveal(Struct, frozen=True, forbid_unknown_fields=True):
    """The nonce (32 bytes in hex) of a join request."""

    nonce: str


# Requests of the owner, on this machine.


@get("/network", summary="Show whether the master listens on the network",
     responses=error_responses())  # fmt: skip
async def show_network(request: ApiRequest) -> responses.NetworkStatus:
    return _get_network(request).read_status()


@post("/network", status_code=200, summary="Listen on the network, or on this machine only",
      responses=error_responses(AlreadyRunning))  # fmt: skip
async def change_network(
    request: ApiRequest, data: JSONBody[NetworkChange]
) -> responses.NetworkStatus:
    network = _get_network(request)
    await (network.open() if data.open else network.close())
    return network.read_status()


@post("/invitations", summary="Invite a machine to join",
      responses=error_responses(NoSuchCommand, Conflict))  # fmt: skip
async def invite(request: ApiRequest, data: JSONBody[Invitation]) -> responses.Invited:
    network = _get_network(request)
    authority = decode_certificate(network.authority)
    if not 1 <= data.for_s <= _MAX_INVITATION_S:
        raise BadRequest("for_s: an invitation is valid for 1 second to 7 days")
    endpoints = network.endpoints()
    if not endpoints:
        raise Conflict("this machine has no address on a network; connect it, then try again")
    number, secret = secrets.randbelow(2**53), secrets.token_bytes(joining.SECRET_BYTES)
    expires_ms = master_now().wall_ms + round(1000 * data.for_s)
    invitation = requests.InviteMachine(
        number, joining.hash_secret(secret), data.allow, data.name, expires_ms
    )
    await get_master(request).execute(invitation)
    pin = joining.compute_pin(authority)
    token = joining.JoinToken(pin, number, secret, tuple(endpoints))
    return {"token": joining.format_token(token), "expires_ms": expires_ms}


@get("/join-requests", summary="List machines that ask to join without a token",
     responses=error_responses(Conflict))  # fmt: skip
async def list_requests(request: ApiRequest) -> responses.JoinRequestList:
    waiting = _get_network(request).join_requests.list_waiting(master_now().wall_ms)
    return {
        "requests": [
            {
                "id": each.request_id,
                "name": each.name,
                "code": list(each.code),
                "expires_ms": each.expires_ms,
            }
            for each in waiting
        ]
    }


@post("/join-requests/{name:str}", status_code=200, summary="Approve or reject a join request",
      responses=error_responses(NoSuchCommand, NoSuchJoinRequest, Conflict))  # fmt: skip
async def answer_request(
    request: ApiRequest, name: FromPath[str], data: JSONBody[Approval]
) -> responses.JoinAnswer:
    waiting = _get_network(request).join_requests.find_waiting(name, master_now().wall_ms)
    if not data.approve:
        waiting.state = "rejected"
        return {"name": waiting.name, "approved": False, "new": False}
    approval = requests.ApproveMachine(waiting.machine_key, waiting.name, data.allow)
    joined: JoinedMachine = await get_master(request).execute(approval)
    waiting.state, waiting.name, waiting.is_new = "approved", joined.name, joined.is_new
    log.info("machine %s was approved and joins", joined.name, extra={"machine": joined.name})
    return {"name": joined.name, "approved": True, "new": joined.is_new}


@post("/machines/{name:str}/rename", status_code=200, summary="Rename a machine",
      responses=error_responses(NoSuchMachine, Conflict))  # fmt: skip
async def rename_machine(
    request: ApiRequest, name: FromPath[str], data: JSONBody[NewName]
) -> responses.MachineName:
    await get_master(request).execute(requests.RenameMachine(name, data.name))
    return {"name": data.name}


@post("/machines/{name:str}/revoke", status_code=200, summary="Refuse a machine from now on",
      responses=error_responses(NoSuchMachine, Conflict))  # fmt: skip
async def revoke_machine(request: ApiRequest, name: FromPath[str]) -> responses.MachineName:
    master = get_master(request)
    revocation: RevokedMachine = await master.execute(requests.RevokeMachine(name))
    _get_network(request).reject_key(revocation.key)
    log.info("machine %s is revoked", name, extra={"machine": name})
    if revocation.connection is not None:
        master.links.close_connection(revocation.connection)
    return {"name": name}


# Requests of machines, also from the network (web/security/network_access.py).


@get("/join/authority", summary="Get the certificate of the master's authority",
     media_type=MediaType.TEXT, responses=error_responses(Conflict))  # fmt: skip
async def show_authority(request: ApiRequest) -> str:
    return _get_network(request).authority.decode()


@post("/join/token", status_code=200, summary="Join with a token",
      responses=error_responses(Conflict, NotAllowed))  # fmt: skip
async def join_with_token(request: ApiRequest, data: JSONBody[TokenJoin]) -> responses.Joined:
    _get_network(request).authority  # noqa: B018  (raises if the network is closed)
    _check_machine(data.machine_key, data.name)
    secret = _decode_hex("secret", data.secret, joining.SECRET_BYTES)
    acceptance = requests.AcceptInvitation(
        data.invitation, joining.hash_secret(secret), data.machine_key, data.name
    )
    master = get_master(request)
    joined: JoinedMachine | None = await master.execute(acceptance)
    if joined is None:
        _get_connection(request).report("its join token is not valid")
        raise NotAllowed(_REFUSED)
    log.info("machine %s has joined with a token", joined.name, extra={"machine": joined.name})
    return _describe_joined(master, joined.name, is_new=joined.is_new)


@post("/join/requests", status_code=200, summary="Ask to join without a token",
      responses=error_responses(Conflict, NotAllowed))  # fmt: skip
async def request_join(request: ApiRequest, data: JSONBody[CodeJoin]) -> responses.JoinStarted:
    _check_machine(data.machine_key, data.name)
    _decode_hex("commitment", data.commitment, 32)
    _get_network(request).authority  # noqa: B018  (raises if the network is closed)
    check_key(get_master(request).state, data.machine_key)
    opened = _get_network(request).join_requests.open(
        machine_key=data.machine_key,
        name=data.name,
        commitment=data.commitment,
        request_id=secrets.token_hex(8),
        master_nonce=secrets.token_bytes(joining.NONCE_BYTES),
        now_ms=master_now().wall_ms,
    )
    return {"id": opened.request_id, "nonce": opened.master_nonce.hex()}


@post("/join/requests/{id:str}", status_code=200, summary="Reveal the nonce of a join request",
      responses=error_responses(Conflict, NoSuchJoinRequest))  # fmt: skip
async def reveal_nonce(
    request: ApiRequest, id: FromPath[str], data: JSONBody[Reveal]
) -> responses.JoinState:
    nonce = _decode_hex("nonce", data.nonce, joining.NONCE_BYTES)
    found = _get_network(request).join_requests.reveal(id, nonce, master_now().wall_ms)
    return {"state": found.state, "joined": None}


@get("/join/requests/{id:str}", summary="Show whether a join request was approved",
     responses=error_responses(Conflict, NoSuchJoinRequest))  # fmt: skip
async def show_request(request: ApiRequest, id: FromPath[str]) -> responses.JoinState:
    found = _get_network(request).join_requests.find(id, master_now().wall_ms)
    joined = None
    if found.state == "approved":
        joined = _describe_joined(get_master(request), found.name, is_new=found.is_new)
    return {"state": found.state, "joined": joined}


def _describe_joined(master: Master, name: str, *, is_new: bool) -> responses.Joined:
    return {"name": name, "master_key": handshake.encode_public_key(master.key), "new": is_new}


def _check_machine(key: str, name: str) -> None:
    _decode_hex("machine_key", key, 32)
    check_machine_name(name)


def _decode_hex(field: str, text: str, size: int) -> bytes:
    data = handshake.decode_hex(text, size)
    if data is None:
        raise BadRequest(f"{field}: must be {size} bytes in lower-case hex")
    return data


def _get_connection(request: ApiRequest) -> LimitedConnection:
    return cast(LimitedConnection, request.scope["state"]["connection"])


def _get_network(request: ApiRequest) -> Network:
    return cast(Network, request.app.state.network)


ROUTES: Final[list[Any]] = [
    show_network,
    change_network,
    invite,
    list_requests,
    answer_request,
    rename_machine,
    revoke_machine,
    show_authority,
    join_with_token,
    request_join,
    reveal_nonce,
    show_request,
]
