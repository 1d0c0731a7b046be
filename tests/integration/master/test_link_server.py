"""Link server on a real socket: handshake, received frames, sent frames."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop
from websockets.exceptions import ConnectionClosed

from mythjobs.master.link import server
from mythjobs.protocol import handshake
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import Headroom
from tests.integration.master.link_fixtures import FakeAgent, LinkMaster


def test_agent_and_master_authenticate_each_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.connected() as socket:
            agent = FakeAgent(socket)
            welcome = await agent.send_hello()
            assert isinstance(welcome, m.Welcome)
            assert (welcome.machine_id, welcome.jobs) == (1, 4)
            public = handshake.encode_public_key(master.key)
            handshake.verify(
                public,
                welcome.signature,
                agent.transcript,
            )

            [attach] = master.port.attached
            assert attach.trusted  # connected through the state directory's socket
            assert attach.hello.name == "attic"

    uvloop.run(story())


@pytest.mark.parametrize(
    "changed",
    [{"boot_id": "b\0"}, {"boot_id": "b" * 101}, {"zone": "\0"}, {"cores": 2**40}],
    ids=str,
)
def test_a_hello_that_the_store_cannot_hold_is_rejected(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.connected() as socket:
            refused = await FakeAgent(socket).send_hello(is_signed=True, **changed)
            assert isinstance(refused, m.Refused)
            assert "signature" not in refused.sentence
            assert master.port.attached == []

    uvloop.run(story())


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "00" * 64},
        {"signature": "not hex"},
        {"machine_key": "AB" * 32},
        {"machine_key": ""},
        {"nonce": "ab"},
        {"version": m.VERSION + 1},
        {"version": 0},
        {"version": 1},  # its signature covers less
        {"name": "cellar"},  # a changed field makes the signature invalid
        {"cores": 64},
        {"can": ["leases"]},
        {"zone": "Europe/Berlin"},
        {"boot_id": "c"},
        {"incarnation": "j"},
        {"name": ""},
        {"name": "attic/cellar"},
        {"name": "x" * 101},
        {"name": "attic\x1b[2J"},
    ],
    ids=str,
)
def test_an_invalid_hello_is_rejected_with_the_reason(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.connected() as socket:
            refused = await FakeAgent(socket).send_hello(**changed)
            assert isinstance(refused, m.Refused)
            assert refused.sentence
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            # The master's turns are not involved.
            assert master.port.attached == []
            assert master.port.posted.empty()

    uvloop.run(story())


def test_a_machine_rejected_by_the_master_gets_the_reason(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.connected() as socket:
            master.port.refuse = "this machine is not known here"
            refused = await FakeAgent(socket).send_hello()
            assert refused == m.Refused("not_allowed", "this machine is not known here")
            await master.port.wait_detached()

    uvloop.run(story())


def test_a_silent_connection_times_out_before_and_after_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(server, "SILENCE_TIMEOUT_S", 0.05)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            async with master.connected() as socket:
                await socket.recv()  # the challenge, left unanswered
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
            assert master.port.posted.empty()
            async with master.agent() as agent:
                with pytest.raises(ConnectionClosed):
                    await agent.receive_messages()
                await master.port.wait_detached()

    uvloop.run(story())


def test_frames_are_posted_in_order_without_output_messages(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            await agent.send_messages(
                m.Heartbeat(1), m.OutputOffer(7, 1, 1, 10), m.Started(8, 1, 5)
            )
            room = Headroom({"flag": 2})
            await agent.send_messages(m.OutputOffer(9, 1, 1, 10), headroom=room)
            first, second = await master.port.next_frame(), await master.port.next_frame()
            assert first.messages == [m.Heartbeat(1), m.Started(8, 1, 5)]
            # The second frame is empty now but must still be acknowledged.
            assert (second.no, second.messages, second.headroom) == (2, [], room)
        await asyncio.wait_for(master.port.wait_detached(), 5)

    uvloop.run(story())


def test_frames_for_an_agent_that_does_not_read_are_merged_into_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            connection = master.port.attached[0].connection
            send = master.links.send_frame
            # More than the kernel buffers. The agent runs in this event loop: it cannot read now.
            large: list[m.MasterMessage] = [m.Stale(job, 1) for job in range(20_000)]
            send(connection, m.MasterFrame(1, large))
            send(connection, m.MasterFrame(2, [m.Renew(1)]))
            send(connection, m.MasterFrame(3, [m.Settings(3)]))
            send(connection + 1, m.MasterFrame(9, []))  # closed connection: ignored
            assert await agent.receive_messages() == large
            assert await agent.receive_messages() == [m.Renew(1), m.Settings(3)]
            assert agent.acked == 3

    uvloop.run(story())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 1000, 1800, 2000])
def test_frames_of_each_size_arrive(tmp_path: Path, count: int) -> None:
    # The length of a WebSocket frame takes 1, 3 or 9 bytes: from 126 and from 65,536 bytes on.
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            connection = master.port.attached[0].connection
            messages: list[m.MasterMessage] = [m.Stale(job, 1) for job in range(count)]
            master.links.send_frame(connection, m.MasterFrame(1, messages))
            assert await agent.receive_messages() == messages

    uvloop.run(story())


def test_messages_about_output_are_merged_into_one_frame(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            # Two outputs that the master does not keep, because nobody knows their attempts.
            await agent.send_messages(m.OutputOffer(7, 1, 1, 0), m.OutputOffer(8, 1, 1, 0))
            assert await agent.receive_messages() == [m.OutputKept(7, 1, 1), m.OutputKept(8, 1, 1)]

    uvloop.run(story())


@pytest.mark.parametrize("frame", ["{}", "[" * 100_000, b"short", b"\0" * 16 + b"x" * 65537])
def test_an_invalid_frame_closes_only_its_own_connection(
    tmp_path: Path, frame: str | bytes
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as well:
            async with master.agent() as agent:
                await agent.socket.send(frame)
                with pytest.raises(ConnectionClosed):
                    await agent.receive_messages()
            await well.socket.close()

    uvloop.run(story())


def test_a_new_connection_of_a_machine_closes_the_old_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            LinkMaster(tmp_path).serving() as master,
            master.agent() as old,
            master.agent() as new,
        ):
            with pytest.raises(ConnectionClosed):
                await old.receive_messages()
            connection = master.port.attached[1].connection
            master.links.send_frame(connection, m.MasterFrame(0, [m.Settings(2)]))
            assert await new.receive_messages() == [m.Settings(2)]

    uvloop.run(story())
