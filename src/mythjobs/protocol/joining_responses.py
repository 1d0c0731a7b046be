"""Response types of the requests about joining and the network."""

from __future__ import annotations

from typing import TypedDict


class NetworkStatus(TypedDict):
    """addresses: HOST:PORT at which other machines reach the master, empty if it is not open."""

    open: bool
    port: int
    addresses: list[str]


class Invited(TypedDict):
    """token: for `mythjobs agent join`."""

    token: str
    expires_ms: int


class JoinRequestDetails(TypedDict):
    """A machine that asks to join. code: the six words that its screen shows too."""

    id: str
    name: str
    code: list[str]
    expires_ms: int


class JoinRequestList(TypedDict):
    requests: list[JoinRequestDetails]


class JoinAnswer(TypedDict):
    """new: false if the machine had joined before, and keeps the rights that it had."""

    name: str
    approved: bool
    new: bool


class MachineName(TypedDict):
    name: str


class Joined(TypedDict):
    """name: of the machine that joined. master_key: the master's public key in hex. new: false if
    the machine had joined before, and keeps the name and the rights that it had."""

    name: str
    master_key: str
    new: bool


class JoinStarted(TypedDict):
    """nonce: the master's, 32 bytes in hex."""

    id: str
    nonce: str


class JoinState(TypedDict):
    """state: "incomplete", "waiting", "approved" or "rejected". joined: once it is approved."""

    state: str
    joined: Joined | None
