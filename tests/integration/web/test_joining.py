"""Joining through real TLS on loopback: tokens, words, rights, revoking, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from mythjobs.agent.joining import join_with_code
from mythjobs.config import certificates, keys
from mythjobs.config.network import read_network_setting
from mythjobs.config.state import StateDir
from mythjobs.errors import Conflict, MythJobsError, NotAllowed, ProtocolError
from mythjobs.master.handlers.joining import MAX_FAILURES
from mythjobs.protocol.handshake import encode_public_key
from mythjobs.protocol.joining import Endpoint, JoinToken
from tests.integration.web.network_master import (
    invite,
    join,
    make_state,
    on_loopback,
    open_network,
    shake_hands,
)
from tests.integration.web.served_master import NOTE, ServedMaster, run

__all__ = ["on_loopback"]  # a fixture
pytestmark = pytest.mark.usefixtures("on_loopback")


def test_a_machine_joins_with_a_token_and_connects(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        joined = await join(attic, await invite(master))
        assert joined == ("attic", Endpoint("127.0.0.1", master.port), True)
        welcome = await shake_hands(attic)
        machines = (await master.api("GET", "/machines")).json["machines"]
        assert [(e["id"], e["name"], e["allow"]) for e in machines] == [
            (welcome.machine_id, "attic", "all")
        ]

    run(tmp_path, story)


def test_a_token_works_once_and_repeats_its_answer_to_the_same_machine(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = await invite(master, name="loft")
        attic, cellar = make_state(tmp_path, "attic"), make_state(tmp_path, "cellar")
        first = await join(attic, token)
        assert first.name == "loft"
        assert await join(attic, token) == first
        with pytest.raises(NotAllowed, match="was used"):
            await join(cellar, token)

    run(tmp_path, story)


def test_an_invitation_limits_rights(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        await master.api("POST", "/commands", {"definition": NOTE, "replace": False})
        unknown = await master.api("POST", "/invitations", {"allow": ["nothing"]})
        assert (unknown.status, unknown.json["code"]) == (404, "no_such_command")
        await join(make_state(tmp_path, "a"), await invite(master, allow=["note"]))
        found = (await master.api("GET", "/machines/attic")).json
        assert found["allow"] == {"listed": ["note"]}

    run(tmp_path, story)


def test_the_secret_is_not_sent_to_another_master(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = await invite(master)
        attic = make_state(tmp_path, "attic")
        with pytest.raises(NotAllowed, match="is not the master that issued this token"):
            await join(attic, token._replace(pin=bytes(16)))
        assert not attic.agent.network_master.exists()
        await join(attic, token)  # the secret has not been used

    run(tmp_path, story)


def test_wrong_secrets_close_an_invitation(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = await invite(master)
        attic = make_state(tmp_path, "attic")
        for _ in range(MAX_FAILURES):
            with pytest.raises(NotAllowed):
                await join(attic, token._replace(secret=bytes(16)))
        with pytest.raises(NotAllowed, match="not valid"):
            await join(attic, token)

    run(tmp_path, story)


def test_an_expired_invitation_is_refused(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = await invite(master, for_s=1)
        await asyncio.sleep(1.01)  # the shortest time for which an invitation can be valid
        with pytest.raises(NotAllowed, match="expired"):
            await join(make_state(tmp_path, "attic"), token)
        for for_s in (0, 8 * 86_400):
            refused = await master.api("POST", "/invitations", {"for_s": for_s})
            assert (refused.status, refused.json["exit"]) == (400, 2)

    run(tmp_path, story)


def test_a_machine_joins_with_words_that_both_sides_show(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
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
        assert answer.json == {"name": "attic", "approved": True, "new": True}
        approved.set()
        assert (await joining_machine).name == "attic"
        await shake_hands(attic)
        assert (await master.api("GET", "/machines/attic")).json["allow"] == {"listed": []}

    run(tmp_path, story)


def test_a_rejected_machine_is_told(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        loop = asyncio.get_running_loop()

        def reject(_: object) -> None:
            answer = master.api("POST", "/join-requests/attic", {"approve": False})
            asyncio.run_coroutine_threadsafe(answer, loop).result()

        with pytest.raises(NotAllowed, match="has rejected"):
            await asyncio.to_thread(
                join_with_code,
                make_state(tmp_path, "attic"),
                Endpoint("127.0.0.1", master.port),
                "attic",
                reject,
                lambda: None,
            )
        assert (await master.api("GET", "/machines")).json["machines"] == []

    run(tmp_path, story)


def test_a_handshake_is_bound_to_its_connection(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        for wrong in ("", "00" * 32):
            with pytest.raises((ProtocolError, ConnectionClosed)):
                await shake_hands(attic, fingerprint=wrong)
        # Version 1, whose signatures cover less, is refused by both sides.
        with pytest.raises(ProtocolError, match="no common version"):
            await shake_hands(attic, newest=1)
        with pytest.raises(ProtocolError, match="versions 2 to"):
            await shake_hands(attic, fingerprint="", newest=1)
        await shake_hands(attic)

    run(tmp_path, story)


def test_a_machine_that_has_not_joined_is_refused(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        attic.agent.key.unlink()
        with pytest.raises(ProtocolError, match="has not joined this master"):
            await shake_hands(attic)

    run(tmp_path, story)


def test_a_revoked_machine_is_refused_and_hidden(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        await shake_hands(attic)
        # Observed: the six words of a revoked machine were listed, and could not be approved.
        key = encode_public_key(keys.load_or_create_key(attic.agent.key))
        asked = {"machine_key": key, "name": "attic", "commitment": "cd" * 32}
        opened = (await master.api("POST", "/join/requests", asked)).json
        assert (await master.api("POST", "/machines/attic/revoke")).json == {"name": "attic"}
        found = await master.api("GET", f"/join/requests/{opened['id']}")
        assert found.json["state"] == "rejected"
        refused = await master.api("POST", "/join/requests", asked)
        assert (refused.status, refused.json["code"]) == (401, "not_allowed")
        assert "was revoked" in refused.json["message"]
        assert (await master.api("GET", "/machines")).json["machines"] == []
        with pytest.raises(ProtocolError, match="was revoked"):
            await shake_hands(attic)
        with pytest.raises(NotAllowed, match="was revoked"):
            await join(attic, await invite(master))
        # The name is free, and a new key is a new machine.
        attic.agent.key.unlink()
        assert (await join(attic, await invite(master))).name == "attic"
        await shake_hands(attic)

    run(tmp_path, story)


def test_a_machine_that_joins_again_keeps_its_rights_and_both_sides_say_so(
    tmp_path: Path,
) -> None:
    """Observed: `machine approve --allow` of a machine that had joined before had no effect."""

    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        token = await invite(master, allow=[])
        assert (await join(attic, token)).is_new
        assert (await join(attic, token)).is_new  # it did not get the answer and asks again
        again = await join(attic, await invite(master), name="loft")
        assert (again.name, again.is_new) == ("attic", False)

        loop = asyncio.get_running_loop()

        def approve(_: object) -> None:
            posted = master.api("POST", "/join-requests/attic", {"approve": True})
            answer = asyncio.run_coroutine_threadsafe(posted, loop).result()
            assert answer.json == {"name": "attic", "approved": True, "new": False}

        by_words = await asyncio.to_thread(
            join_with_code,
            attic,
            Endpoint("127.0.0.1", master.port),
            "attic",
            approve,
            lambda: None,
        )
        assert not by_words.is_new
        assert (await master.api("GET", "/machines/attic")).json["allow"] == {"listed": []}

    run(tmp_path, story)


def test_switches_of_the_network_at_one_instant_leave_the_port_as_stored(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for wanted in ((True, False), (False, True), (True, False, True, False)):
            switches = [master.api("POST", "/network", {"open": each}) for each in wanted]
            await asyncio.gather(*switches)
            is_open = (await master.api("GET", "/network")).json["open"]
            assert read_network_setting(master.state_dir).is_open == is_open
        both = [open_network(master), open_network(master)]
        await asyncio.gather(*both)

    run(tmp_path, story)


def test_opening_an_open_network_keeps_the_requests_that_wait(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        asked = {"machine_key": "ab" * 32, "name": "attic", "commitment": "cd" * 32}
        opened = (await master.api("POST", "/join/requests", asked)).json
        await open_network(master)
        found = await master.api("GET", f"/join/requests/{opened['id']}")
        assert (found.status, found.json["state"]) == (200, "incomplete")

    run(tmp_path, story)


def test_a_machine_is_renamed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        for name in ("attic", "cellar"):
            await join(make_state(tmp_path, name), await invite(master), name)
        taken = await master.api("POST", "/machines/attic/rename", {"name": "cellar"})
        assert (taken.status, taken.json["code"]) == (409, "conflict")
        for bad in ("", " ", " a", "a/b", "a\n", "x" * 101):
            refused = await master.api("POST", "/machines/attic/rename", {"name": bad})
            assert refused.status == 400, bad
        await master.api("POST", "/machines/attic/rename", {"name": "loft"})
        await shake_hands(make_state(tmp_path, "attic"))
        machines = (await master.api("GET", "/machines")).json["machines"]
        assert [each["name"] for each in machines] == ["loft", "cellar"]

    run(tmp_path, story)


def test_the_directory_of_a_master_joins_no_other(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        with pytest.raises(Conflict, match="is the state directory of a master"):
            await join(master.state_dir, await invite(master))

    run(tmp_path, story)


@pytest.mark.parametrize("bad", [{"machine_key": "AB" * 32}, {"secret": "x"}, {"name": "a/b"}, {}])
def test_malformed_joins_are_refused(tmp_path: Path, bad: dict[str, str]) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
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
            await join(make_state(tmp_path, "attic"), token)
        server.close()

    asyncio.run(story())
