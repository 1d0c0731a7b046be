"""Output transfers between agent, spool and reader: resume, credit, follow."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import uvloop
from websockets.exceptions import ConnectionClosed

from mythjobs.errors import Unreachable
from mythjobs.master.output import reader
from mythjobs.master.output.reader import AttemptOutput, RequestedOutput
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import MAX_CHUNK_BYTES, TRANSFER_WINDOW_BYTES
from tests.integration.master.link_fixtures import ATTIC, LinkMaster

BYTES = random.Random(7).randbytes(1_000_003)


async def _all(reading: RequestedOutput) -> bytes:
    return b"".join([data async for data in reading.chunks])


def test_offered_output_is_collected_and_read_from_the_spool(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(1042, (len(BYTES), len(BYTES), 0))
            async with master.agent() as agent:
                await agent.send_messages(m.OutputOffer(1042, 1, 1, len(BYTES)))
                fetch = await agent.receive_fetch()
                assert (fetch.job, fetch.n, fetch.stream, fetch.offset) == (1042, 1, 1, 0)
                assert fetch.kept
                await agent.send_stream(fetch, BYTES)
                while (messages := await agent.receive_messages()) != [m.OutputKept(1042, 1, 1)]:
                    assert all(isinstance(each, m.OutputCredit) for each in messages)

                # A repeated offer is acknowledged without a transfer.
                await agent.send_messages(m.OutputOffer(1042, 1, 1, len(BYTES)))
                assert await agent.receive_messages() == [m.OutputKept(1042, 1, 1)]

            assert (tmp_path / "output/1/1042.1.1").read_bytes() == BYTES
            assert not list(tmp_path.glob("output/*/*.part"))
            # The agent is disconnected now.
            reading = await master.outputs.read(1042, None, 1, 0, follow=True)
            assert (reading.n, reading.dropped, reading.length) == (1, 0, len(BYTES))
            assert await _all(reading) == BYTES

    uvloop.run(story())


def test_small_output_is_read_from_the_store(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            streams = [(2, 2, 0), (3, 3, 0)]
            ended = AttemptOutput(1, ATTIC, "attic", True, streams, [b"ab", b"cde"])
            master.store.attempts[8, 1] = ended
            for stream, offset, data in ((1, 0, b"ab"), (2, 0, b"cde"), (2, 2, b"e"), (2, 3, b"")):
                reading = await master.outputs.read(8, None, stream, offset, follow=True)
                assert (reading.dropped, reading.length) == (0, len(data))
                assert await _all(reading) == data

    uvloop.run(story())


def test_output_that_the_end_took_along_during_a_read_is_read_from_the_store(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(9, is_ended=False)
            async with master.agent() as agent:
                reading = await master.outputs.read(9, None, 1, 0, follow=True)
                rest = asyncio.create_task(_all(reading))
                fetch = await agent.receive_fetch()
                ended = AttemptOutput(1, ATTIC, "attic", True, [(2, 2, 0)], [b"ab"])
                master.store.attempts[9, 1] = ended
                await agent.send_messages(m.OutputEnd(fetch.transfer, "gone"))
                assert await rest == b"ab"

    uvloop.run(story())


def test_an_interrupted_transfer_resumes_at_its_offset(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(7, (300_000, 300_000, 0))
            async with master.agent() as agent:
                await agent.send_messages(m.OutputOffer(7, 1, 1, 300_000))
                fetch = await agent.receive_fetch()
                await agent.send_chunk(fetch.transfer, 0, BYTES[:MAX_CHUNK_BYTES])
                await agent.send_chunk(
                    fetch.transfer, MAX_CHUNK_BYTES, BYTES[MAX_CHUNK_BYTES:100_000]
                )
                credit_bytes = 0
                while credit_bytes < 100_000:  # so the bytes were written
                    for each in await agent.receive_messages():
                        assert isinstance(each, m.OutputCredit)
                        credit_bytes += each.bytes
            async with master.agent() as agent:
                await agent.send_messages(m.OutputOffer(7, 1, 1, 300_000))
                fetch = await agent.receive_fetch()
                assert fetch.offset == 100_000
                await agent.send_stream(fetch, BYTES[:300_000])
                while (messages := await agent.receive_messages()) != [m.OutputKept(7, 1, 1)]:
                    assert all(isinstance(each, m.OutputCredit) for each in messages)
            assert (tmp_path / "output/0/7.1.1").read_bytes() == BYTES[:300_000]

    uvloop.run(story())


@pytest.mark.parametrize(
    "size, kept, dropped",
    [
        (0, b"", 12),
        (3, b"hel", 9),
        (5, b"hello", 7),
        (8, b"hello", 7),  # a part of the tail: its place in the stream is known to nobody
        (10, b"helloworld", 2),
        (13, b"helloworld", 2),
    ],
)
def test_of_a_damaged_spool_file_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, kept: bytes, dropped: int
) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(8, (12, 5, 5))
            path = tmp_path / "output" / "0" / "8.1.1"
            path.parent.mkdir()
            path.write_bytes(b"helloworldxyz"[:size])
            found = await master.outputs.read(8, None, 1, 0, follow=False)
            assert b"".join([each async for each in found.chunks]) == kept
            assert (found.length, found.dropped) == (len(kept), dropped)
            last = await master.outputs.read_last_lines(8, None, 1, 10)
            assert b"".join([each async for each in last.chunks]) == kept
            assert last.dropped == dropped

    uvloop.run(story())
    assert ("8.1.1 has" in caplog.text) == (size < 10)


def test_many_small_outputs_are_all_collected(tmp_path: Path) -> None:
    async def story() -> None:
        jobs = range(1, 101)
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.port.acknowledging = master.links
            for job in jobs:
                master.store.add_attempt(job, (5, 5, 0))
            await agent.send_messages(*(m.OutputOffer(job, 1, 1, 5) for job in jobs))
            kept: set[int] = set()
            while len(kept) < len(jobs):
                for message in await agent.receive_messages():
                    if isinstance(message, m.OutputFetch):
                        await agent.send_stream(message, b"%05d" % message.job)
                    else:
                        assert isinstance(message, m.OutputKept)
                        kept.add(message.job)
        assert (tmp_path / "output/0/77.1.1").read_bytes() == b"00077"

    uvloop.run(story())


@pytest.mark.parametrize("wrong", ["more than its credit", "wrong offset", "never requested"])
def test_unexpected_bytes_close_the_connection(tmp_path: Path, wrong: str) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.store.add_attempt(7, is_ended=False)
            master.store.add_attempt(8, (9, 9, 0))
            if wrong == "more than its credit":
                reading = await master.outputs.read(7, None, 1, 0, follow=True)
                reading_task = asyncio.ensure_future(anext(reading.chunks))
                fetch = await agent.receive_fetch()
                for at in range(0, TRANSFER_WINDOW_BYTES + 1, MAX_CHUNK_BYTES):
                    await agent.send_chunk(fetch.transfer, at, bytes(MAX_CHUNK_BYTES))
                await reading_task
            elif wrong == "wrong offset":
                await agent.send_messages(m.OutputOffer(8, 1, 1, 9))
                await agent.send_chunk((await agent.receive_fetch()).transfer, 1, b"x")
            else:
                await agent.send_chunk(99, 0, b"x")
            with pytest.raises(ConnectionClosed):
                await agent.receive_messages()

    uvloop.run(story())


def test_credit_is_returned_only_for_bytes_that_were_read(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.store.add_attempt(7, is_ended=False)
            reading = await master.outputs.read(7, None, 1, 0, follow=True)
            first = asyncio.ensure_future(anext(reading.chunks))
            fetch = await agent.receive_fetch()
            assert fetch.follow
            for at in range(0, TRANSFER_WINDOW_BYTES, MAX_CHUNK_BYTES):
                await agent.send_chunk(fetch.transfer, at, BYTES[at : at + MAX_CHUNK_BYTES])
            assert await first == BYTES[:MAX_CHUNK_BYTES]
            # No credit arrives for unread bytes: the next message is the heartbeat's answer.
            master.links.send_frame(1, m.MasterFrame(0, [m.Renew(1)]))
            assert await agent.receive_messages() == [m.Renew(1)]
            assert await anext(reading.chunks) == BYTES[MAX_CHUNK_BYTES : 2 * MAX_CHUNK_BYTES]
            assert await agent.receive_messages() == [
                m.OutputCredit(fetch.transfer, MAX_CHUNK_BYTES)
            ]
            await reading.chunks.aclose()
            assert await agent.receive_messages() == [m.OutputStop(fetch.transfer)]
            # Bytes that were in flight are dropped.
            await agent.send_chunk(fetch.transfer, TRANSFER_WINDOW_BYTES, b"x")
            await agent.send_messages(m.OutputEnd(fetch.transfer))
            await master.port.next_frame()

    uvloop.run(story())


def test_a_followed_read_continues_after_an_agent_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(7, is_ended=False)
            async with master.agent() as agent:
                reading = await master.outputs.read(7, None, 1, 0, follow=True)
                first = asyncio.ensure_future(anext(reading.chunks))
                fetch = await agent.receive_fetch()
                await agent.send_chunk(fetch.transfer, 0, b"one ")
                assert await first == b"one "
                second = asyncio.ensure_future(anext(reading.chunks))
            async with master.agent() as agent:
                fetch = await agent.receive_fetch()
                assert fetch.offset == 4
                await agent.send_chunk(fetch.transfer, 4, b"two")
                assert await second == b"two"
                end = asyncio.ensure_future(anext(reading.chunks, None))
                await agent.send_messages(m.OutputEnd(fetch.transfer))
                assert await end is None

    uvloop.run(story())


def test_output_on_a_disconnected_machine_names_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "RECONNECT_TIMEOUT_S", 0.05)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            master.store.add_attempt(7, (5, 5, 0))
            with pytest.raises(Unreachable, match="attic"):
                await master.outputs.read(7, None, 1, 0, follow=False)
            master.store.add_attempt(8, is_ended=False)
            async with master.agent():
                reading = await master.outputs.read(8, None, 1, 0, follow=True)
                end = asyncio.ensure_future(_all(reading))
            with pytest.raises(Unreachable, match="attic"):
                await end

    uvloop.run(story())


def test_output_that_moved_to_the_spool_is_read_from_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.store.add_attempt(7, is_ended=False)
            reading = asyncio.ensure_future(master.outputs.read(7, None, 1, 2, follow=False))
            fetch = await agent.receive_fetch()
            # The attempt ended, and the agent delivered its output and deleted it.
            master.store.add_attempt(7, (5, 5, 0))
            path = tmp_path / "output/0/7.1.1"
            path.parent.mkdir()
            path.write_bytes(b"hello")
            await agent.send_messages(m.OutputEnd(fetch.transfer, error="gone"))
            assert await _all(await reading) == b"llo"

    uvloop.run(story())


@pytest.mark.parametrize(
    "offset, expected",
    [
        (0, b"headtail"),
        (3, b"dtail"),
        (4, b"tail"),
        (50, b"tail"),
        (96, b"tail"),
        (98, b"il"),
        (100, b""),
        (5000, b""),
    ],
)
def test_offsets_count_dropped_bytes(tmp_path: Path, offset: int, expected: bytes) -> None:
    async def story() -> None:
        master = LinkMaster(tmp_path)
        master.store.add_attempt(7, (100, 4, 4))
        path = tmp_path / "output/0/7.1.1"
        path.parent.mkdir()
        path.write_bytes(b"headtail")
        reading = await master.outputs.read(7, None, 1, offset, follow=False)
        assert reading.dropped == 92
        assert reading.length == len(expected)
        assert await _all(reading) == expected

    uvloop.run(story())


def test_a_stream_without_bytes_is_empty(tmp_path: Path) -> None:
    async def story() -> None:
        master = LinkMaster(tmp_path)
        master.store.add_attempt(7)
        reading = await master.outputs.read(7, None, 2, 0, follow=True)
        assert (reading.dropped, await _all(reading)) == (0, b"")

    uvloop.run(story())
