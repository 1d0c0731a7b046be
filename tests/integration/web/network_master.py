"""A served master whose network port listens on loopback, and machines that join it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from mythjobs.agent.handshake import AgentIdentity, build_hello, verify_welcome
from mythjobs.agent.joining import Join, join_with_token
from mythjobs.agent.master_address import find_master, read_fingerprint
from mythjobs.config import keys
from mythjobs.config.state import StateDir, open_state
from mythjobs.protocol import codec, joining
from mythjobs.protocol import messages as m
from mythjobs.protocol.joining import JoinToken
from mythjobs.web.network import control, port
from mythjobs.web.network.discovery import Announcement
from mythjobs.web.network.sockets import bind_port
from tests.integration.web.served_master import ServedMaster


@pytest.fixture
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that is open to all machines listens on loopback only in these tests."""

    def bind(number: int) -> socket.socket:
        sock = bind_port(number)
        sock.setblocking(False)
        return sock

    monkeypatch.setattr(port, "bind_all_addresses", bind)
    monkeypatch.setattr(control, "list_addresses", lambda: ["127.0.0.1"])

    async def start(self: Announcement, endpoints: object) -> None:
        """Announce nothing: mDNS would leave this machine."""

    monkeypatch.setattr(Announcement, "start", start)


async def open_network(master: ServedMaster) -> None:
    answer = await master.api("POST", "/network", {"open": True})
    assert answer.json == {
        "open": True, "port": master.port, "addresses": [f"127.0.0.1:{master.port}"],
    }  # fmt: skip


async def invite(master: ServedMaster, **changed: Any) -> JoinToken:
    answer = await master.api("POST", "/invitations", changed)
    assert answer.status == 201, answer.body
    return joining.parse_token(answer.json["token"])


async def join(state: StateDir, token: JoinToken, name: str = "attic") -> Join:
    return await asyncio.to_thread(join_with_token, state, token, name)


def make_state(root: Path, name: str) -> StateDir:
    return open_state(root / name)


async def shake_hands(
    state: StateDir, fingerprint: str | None = None, newest: int | None = None
) -> m.Welcome:
    """Connect to the joined master as its agent does. fingerprint: in place of the real one."""
    address = find_master(state)
    identity = AgentIdentity(keys.load_or_create_key(state.agent.key), "attic", "b", "i")
    async with address.connect(0) as channel:
        challenge = codec.decode_handshake(await channel.receive_message())
        assert isinstance(challenge, m.Challenge)
        if newest is not None:
            challenge = m.Challenge(challenge.nonce, 1, newest, challenge.master_key)
        seen = read_fingerprint(channel)
        assert seen
        binding = seen if fingerprint is None else fingerprint
        hello, statement = build_hello(
            challenge, identity, "ab" * 32, address.trusted_key, channel=binding
        )
        channel.send_message(codec.encode(hello), is_text=True)
        return verify_welcome(
            codec.decode_handshake(await channel.receive_message()), challenge.master_key, statement
        )
