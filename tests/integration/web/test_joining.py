"""Joining through real TLS on loopback: tokens, words, rights, revoking, and what is refused."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from mythjobs.agent.handshake import AgentIdentity, build_hello, verify_welcome
from mythjobs.agent.joining import Join, join_with_code, join_with_token
from mythjobs.agent.master_address import find_master, read_fingerprint
from mythjobs.config import certificates, keys
from mythjobs.config.state import StateDir, open_state
from mythjobs.errors import Conflict, MythJobsError, NotAllowed, ProtocolError
from mythjobs.master.handlers.joining import MAX_FAILURES
from mythjobs.protocol import codec, joining
from mythjobs.protocol import messages as m
from mythjobs.protocol.joining import Endpoint, JoinToken
from mythjobs.web.network import control, port
from mythjobs.web.network.discovery import Announcement
from mythjobs.web.network.sockets import bind_port
from tests.integration.web.served_master import NOTE, ServedMaster, run


@pytest.fixture(autouse=True)
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


async def _open(master: ServedMaster) -> None:
    answer = await master.api("POST", "/network", {"open": True})
    assert answer.json == {
        "open": True, "port": master.port, "addresses": [f"127.0.0.1:{master.port}"],
    }  # fmt: skip


async def _invite(master: ServedMaster, **changed: Any) -> JoinToken:
    answer = await master.api("POST", "/invitations", changed)
    assert answer.status == 201, answer.body
    return joining.parse_token(answer.json["token"])


async def _join(state: StateDir, token: JoinToken, name: str = "attic") -> Join:
    return await asyncio.to_thread(join_with_token, state, token, name)


def _make_state(root: Path, name: str) -> StateDir:
    return open_state(root / name)


async def _shake_hands(
    state: StateDir, fingerprint: str | None = None, newest: int | None = None
) -> m.Welcome:
    """Connect to the joined master as its agent does. fingerprint: in place of the real one."""
    address = find_master(state)
    identity = AgentIdentity(keys.load_or_create_key(state.agent.key), "attic", "b", "i")
    async with address.connect(0) as channel:
        challenge = codec.decode_handshake(await channel.recv())
        assert isinstance(challenge, m.Challenge)
        if newest is not None:
            challenge = m.Challenge(challenge.nonce, 1, newest, challenge.master_key)
        seen = read_fingerprint(channel)
        assert seen
        binding = seen if fingerprint is None else fingerprint
        hello, statement = build_hello(
            challenge, identity, "ab" * 32, address.trusted_key, channel=binding
        )
        await channel.send(codec.encode(hello), text=True)
        return verify_welcome(
            codec.decode_handshake(await channel.recv()), challenge.master_key, statement
        )


def test_a_machine_joins_with_a_token_and_connects(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        joined = await _join(attic, await _invite(master))
        assert joined == ("attic", Endpoint("127.0.0.1", master.port))
        welcome = await _shake_hands(attic)
        machines = (await master.api("GET", "/machines")).json["machines"]
        assert [(e["id"], e["name"], e["allow"]) for e in machines] == [
            (welcome.machine_id, "attic", "all")
        ]

    run(tmp_path, story)


def test_a_token_works_once_and_repeats_its_answer_to_the_same_machine(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        token = await _invite(master, name="loft")
        attic, cellar = _make_state(tmp_path, "attic"), _make_state(tmp_path, "cellar")
        first = await _join(attic, token)
        assert first.name == "loft"
        assert await _join(attic, token) == first
        with pytest.raises(NotAllowed, match="was used"):
            await _join(cellar, token)

    run(tmp_path, story)


def test_an_invitation_limits_rights(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        await master.api("POST", "/commands", {"definition": NOTE, "replace": False})
        unknown = await master.api("POST", "/invitations", {"allow": ["nothing"]})
        assert (unknown.status, unknown.json["code"]) == (404, "no_such_command")
        await _join(_make_state(tmp_path, "a"), await _invite(master, allow=["note"]))
        found = (await master.api("GET", "/machines/attic")).json
        assert found["allow"] == {"listed": ["note"]}

    run(tmp_path, story)


def test_the_secret_is_not_sent_to_another_master(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        token = await _invite(master)
        attic = _make_state(tmp_path, "attic")
        with pytest.raises(NotAllowed, match="is not the master that issued this token"):
            await _join(attic, token._replace(pin=bytes(16)))
        assert not attic.agent.network_master.exists()
        await _join(attic, token)  # the secret has not been used

    run(tmp_path, story)


def test_wrong_secrets_close_an_invitation(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        token = await _invite(master)
        attic = _make_state(tmp_path, "attic")
        for _ in range(MAX_FAILURES):
            with pytest.raises(NotAllowed):
                await _join(attic, token._replace(secret=bytes(16)))
        with pytest.raises(NotAllowed, match="not valid"):
            await _join(attic, token)

    run(tmp_path, story)


def test_an_expired_invitation_is_refused(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        token = await _invite(master, for_s=1)
        await asyncio.sleep(1.01)  # the shortest time for which an invitation can be valid
        with pytest.raises(NotAllowed, match="expired"):
            await _join(_make_state(tmp_path, "attic"), token)
        for for_s in (0, 8 * 86_400):
            refused = await master.api("POST", "/invitations", {"for_s": for_s})
            assert (refused.status, refused.json["exit"]) == (400, 2)

    run(tmp_path, story)


def test_a_machine_joins_with_words_that_both_sides_show(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        shown: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        loop, approved = asyncio.get_running_loop(), asyncio.Event()

        def show(code: tuple[str, ...]) -> None:
            loop.call_soon_threadsafe(shown.put_nowait, code)

        def pause() -> None:
            asyncio.run_coroutine_threadsafe(approved.wait(), loop).result()

        joining_machine = asyncio.create_task(
            asyncio.to_thread(
                join_with_code,
                attic,
                Endpoint("127.0.0.1", master.port),
                "attic",
                show,
                pause,
            )
        )
        words = await shown.get()
        [waiting] = (await master.api("GET", "/join-requests")).json["requests"]
        assert (tuple(waiting["code"]), waiting["name"]) == (words, "attic")
        answer = await master.api("POST", "/join-requests/attic", {"approve": True, "allow": []})
        assert answer.json == {"name": "attic", "approved": True}
        approved.set()
        assert (await joining_machine).name == "attic"
        await _shake_hands(attic)
        assert (await master.api("GET", "/machines/attic")).json["allow"] == {"listed": []}

    run(tmp_path, story)


def test_a_rejected_machine_is_told(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        loop = asyncio.get_running_loop()

        def reject(_: object) -> None:
            answer = master.api("POST", "/join-requests/attic", {"approve": False})
            asyncio.run_coroutine_threadsafe(answer, loop).result()

        with pytest.raises(NotAllowed, match="has rejected"):
            await asyncio.to_thread(
                join_with_code,
                _make_state(tmp_path, "attic"),
                Endpoint("127.0.0.1", master.port),
                "attic",
                reject,
                lambda: None,
            )
        assert (await master.api("GET", "/machines")).json["machines"] == []

    run(tmp_path, story)


def test_a_handshake_is_bound_to_its_connection(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        await _join(attic, await _invite(master))
        for wrong in ("", "00" * 32):
            with pytest.raises((ProtocolError, ConnectionClosed)):
                await _shake_hands(attic, fingerprint=wrong)
        # Version 1, whose signatures cover less, is refused by both sides.
        with pytest.raises(ProtocolError, match="no common version"):
            await _shake_hands(attic, newest=1)
        with pytest.raises(ProtocolError, match="versions 2 to"):
            await _shake_hands(attic, fingerprint="", newest=1)
        await _shake_hands(attic)

    run(tmp_path, story)


def test_a_machine_that_has_not_joined_is_refused(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        await _join(attic, await _invite(master))
        attic.agent.key.unlink()
        with pytest.raises(ProtocolError, match="has not joined this master"):
            await _shake_hands(attic)

    run(tmp_path, story)


def test_a_revoked_machine_is_refused_and_hidden(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        await _join(attic, await _invite(master))
        await _shake_hands(attic)
        assert (await master.api("POST", "/machines/attic/revoke")).json == {"name": "attic"}
        assert (await master.api("GET", "/machines")).json["machines"] == []
        with pytest.raises(ProtocolError, match="was revoked"):
            await _shake_hands(attic)
        with pytest.raises(NotAllowed, match="was revoked"):
            await _join(attic, await _invite(master))
        # The name is free, and a new key is a new machine.
        attic.agent.key.unlink()
        assert (await _join(attic, await _invite(master))).name == "attic"
        await _shake_hands(attic)

    run(tmp_path, story)


def test_a_machine_is_renamed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        for name in ("attic", "cellar"):
            await _join(_make_state(tmp_path, name), await _invite(master), name)
        taken = await master.api("POST", "/machines/attic/rename", {"name": "cellar"})
        assert (taken.status, taken.json["code"]) == (409, "conflict")
        for bad in ("", " ", "a/b", "a\n", "x" * 101):
            refused = await master.api("POST", "/machines/attic/rename", {"name": bad})
            assert refused.status == 400, bad
        await master.api("POST", "/machines/attic/rename", {"name": "loft"})
        await _shake_hands(_make_state(tmp_path, "attic"))
        machines = (await master.api("GET", "/machines")).json["machines"]
        assert [each["name"] for each in machines] == ["loft", "cellar"]

    run(tmp_path, story)


def test_the_directory_of_a_master_joins_no_other(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        with pytest.raises(Conflict, match="is the state directory of a master"):
            await _join(master.state_dir, await _invite(master))

    run(tmp_path, story)


def _request_tls(number: int, method: str, path: str, **headers: str) -> tuple[int, Any]:
    context = certificates.make_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", number, timeout=20, context=context)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_network_reaches_nothing_but_joins_and_the_link(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
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
        await _open(master)
        attic = _make_state(tmp_path, "attic")
        await _join(attic, await _invite(master))
        async with find_master(attic).connect(0) as channel:
            await channel.recv()
            closed = await master.api("POST", "/network", {"open": False})
            assert closed.json["open"] is False
            with pytest.raises(ConnectionClosed):
                await channel.recv()
        with pytest.raises(OSError):
            await _shake_hands(attic)
        assert (await master.request_tcp("GET", "/api/v1/status")).status == 200
        await _open(master)
        await _shake_hands(attic)
        assert (await master.request_tcp("GET", "/api/v1/status")).status == 200

    run(tmp_path, story)


@pytest.mark.parametrize("bad", [{"machine_key": "AB" * 32}, {"secret": "x"}, {"name": "a/b"}, {}])
def test_malformed_joins_are_refused(tmp_path: Path, bad: dict[str, str]) -> None:
    async def story(master: ServedMaster) -> None:
        await _open(master)
        good = {"invitation": 1, "secret": "ab" * 16, "machine_key": "ab" * 32, "name": "attic"}
        body = good | bad if bad else {}
        answer = await master.api("POST", "/join/token", body)
        assert (answer.status, answer.json["exit"]) == (400, 2)

    run(tmp_path, story)


def test_an_answer_of_another_program_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")
        writer.close()

    async def story() -> None:
        (tmp_path / "other").mkdir()
        identity = certificates.load_server_identity(StateDir(tmp_path / "other"), 10**12)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=identity.context)
        number = server.sockets[0].getsockname()[1]
        token = JoinToken(bytes(16), 1, bytes(16), (Endpoint("127.0.0.1", number),))
        with pytest.raises(MythJobsError, match="no valid certificate"):
            await _join(_make_state(tmp_path, "attic"), token)
        server.close()

    asyncio.run(story())
