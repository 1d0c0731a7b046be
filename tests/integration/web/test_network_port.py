"""What the port serves to the network, while it is open and after it is closed."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from mythjobs.agent.master_address import find_master
from mythjobs.config import tls_client
from mythjobs.errors import NotAllowed, ProtocolError
from mythjobs.protocol import joining
from mythjobs.web.network import port
from mythjobs.web.network.listener import Listener
from mythjobs.web.network.sockets import bind_port
from mythjobs.web.security.http_limits import LimitedConnection
from mythjobs.web.security.network_access import NetworkConnection
from mythjobs.web.security.strangers import MAX_STRANGERS_PER_ADDRESS
from tests.integration.web.network_master import (
    invite,
    join,
    make_state,
    on_loopback,
    open_network,
    shake_hands,
)
from tests.integration.web.served_master import ServedMaster, run

__all__ = ["on_loopback"]  # a fixture
pytestmark = pytest.mark.usefixtures("on_loopback")


def _request_tls(number: int, method: str, path: str, **headers: str) -> tuple[int, Any]:
    context = tls_client.make_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", number, timeout=60, context=context)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_network_reaches_nothing_but_joins_and_the_link(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = {"authorization": f"Bearer {'t' * 43}"}
        for method, path in (
            ("GET", "/api/v1/jobs"), ("POST", "/api/v1/jobs"), ("GET", "/api/v1/joined"),
            ("GET", "/api/v1/join"), ("POST", "/api/v1/network"), ("GET", "/"), ("GET", "/link"),
            ("GET", "/api/v1/join/../jobs"),
        ):  # fmt: skip
            status, body = await asyncio.to_thread(_request_tls, master.port, method, path, **token)
            assert (status, body["code"]) in {(403, "not_allowed"), (404, "not_found")}, path
        status, body = await asyncio.to_thread(
            _request_tls,
            master.port,
            "GET",
            "/api/v1/join/authority",
            origin="https://evil.example",
        )
        assert (status, body["code"]) == (403, "foreign_origin")

    run(tmp_path, story)


def test_nothing_can_be_joined_before_the_network_is_open(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for method, path, body in (
            ("POST", "/invitations", {}), ("GET", "/join-requests", None),
            ("GET", "/join/authority", None),
        ):  # fmt: skip
            answer = await master.api(method, path, body)
            assert (answer.status, answer.json["code"]) == (409, "conflict"), path
            assert "mythjobs lan on" in answer.json["message"]

    run(tmp_path, story)


def test_closing_the_network_disconnects_machines_and_keeps_this_one(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        async with find_master(attic).connect(0) as channel:
            await channel.receive_message()
            closed = await master.api("POST", "/network", {"open": False})
            assert closed.json["open"] is False
            with pytest.raises(ConnectionClosed):
                await channel.receive_message()
        with pytest.raises(OSError):
            await shake_hands(attic)
        assert (await master.request_tcp("GET", "/api/v1/status")).status == 200
        await open_network(master)
        await shake_hands(attic)
        assert (await master.request_tcp("GET", "/api/v1/status")).status == 200

    run(tmp_path, story)


def test_a_port_that_is_opened_and_closed_at_once_leaves_no_socket() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no request comes")

    async def story() -> None:
        tested = port.Port(
            Listener(app, LimitedConnection, browser_headers=True),
            Listener(app, NetworkConnection, browser_headers=True),
        )
        await tested.open(bind_port(0))
        before = set(os.listdir("/proc/self/fd"))
        # The task that accepts connections is cancelled before it has begun.
        await tested.listen_on_network(lambda: pytest.fail("no connection comes"))
        await tested.listen_on_loopback()
        after = set(os.listdir("/proc/self/fd"))
        await tested.close()
        assert len(after) == len(before)

    asyncio.run(story())


def test_what_is_refused_is_logged_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = await invite(master)
        guess = token._replace(secret=bytes(16))
        with pytest.raises(NotAllowed):
            await join(make_state(tmp_path, "attic"), guess)
        await asyncio.to_thread(_request_tls, master.port, "GET", "/api/v1/jobs")
        reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
        writer.write(b"\x16\x03\x01\0\4evil")
        await reader.read()  # an alert, or nothing, and the end of the connection
        writer.close()
        refused = [each for each in caplog.messages if each.startswith("refused 127.0.0.1: ")]
        causes = [each.removeprefix("refused 127.0.0.1: ") for each in refused]
        assert causes[:2] == [
            "its join token is not valid",
            "only agents can use this port from the network; use mythjobs on the master's machine",
        ]
        assert causes[2].startswith("the TLS handshake failed (")
        await join(make_state(tmp_path, "attic"), token, "cellar")
        assert "machine cellar has joined with a token" in caplog.messages
        await shake_hands(make_state(tmp_path, "attic"))  # its hello says attic
        assert "machine cellar connected" in caplog.messages
        assert joining.format_token(token).split(".")[3].partition("@")[0] not in caplog.text

    caplog.set_level("INFO")
    run(tmp_path, story)


@pytest.fixture
def as_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections from this machine count as those of others."""
    monkeypatch.setattr(port, "_is_loopback", lambda address: False)


@pytest.mark.usefixtures("as_strangers")
def test_refused_machines_do_not_lock_their_address_out(tmp_path: Path) -> None:
    """Seen: each refused connection on the link counted as a stranger's for ever, so that after
    eight of them no machine of that address could connect any more."""

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic, unknown = make_state(tmp_path, "attic"), make_state(tmp_path, "unknown")
        await join(attic, await invite(master))
        joined = attic.agent.root / "network-master.json"
        unknown.agent.root.mkdir()
        (unknown.agent.root / joined.name).write_bytes(joined.read_bytes())
        for _ in range(MAX_STRANGERS_PER_ADDRESS + 1):
            with pytest.raises(ProtocolError):
                await shake_hands(unknown)
        await shake_hands(attic)

    run(tmp_path, story)


def test_a_machine_that_is_not_known_yet_cannot_send_much(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        async with find_master(attic).connect(0) as channel:
            await channel.receive_message()
            with suppress(OSError):
                channel.send_message(b"x" * 1_000_000, is_text=True)
            with pytest.raises(ConnectionClosed) as closed:
                await channel.receive_message()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG

    run(tmp_path, story)
