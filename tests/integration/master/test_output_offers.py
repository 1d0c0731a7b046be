"""Offers of output: whose are accepted, and which are tried again later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import uvloop

from mythjobs.errors import StoreUnavailable
from mythjobs.master.output import collector
from mythjobs.protocol import messages as m
from tests.integration.master.link_fixtures import LinkMaster
from tests.support.disks import fill_disk, mount_small_disk


def test_an_offer_of_another_machine_does_not_replace_that_of_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: the right offer was forgotten, so that the output was not collected."""
    monkeypatch.setattr(collector, "MAX_TRANSFERS", 1)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            for job in (7, 8):
                master.store.add_attempt(job, (5, 5, 0))
                await agent.send_messages(m.OutputOffer(job, 1, 1, 5))
            first = await agent.receive_fetch()
            assert first.job == 7  # the other offer waits
            master.port.machine_id = 2
            async with master.agent() as other:
                await other.send_messages(m.OutputOffer(8, 1, 1, 5), m.Heartbeat(1))
                while not (await master.port.next_frame()).messages:
                    pass
                await agent.send_stream(first, b"first")
                assert await agent.receive_messages() == [m.OutputKept(7, 1, 1)]
                assert (await agent.receive_fetch()).job == 8

    uvloop.run(story())


def test_output_of_an_unknown_job_is_acknowledged_without_transfer(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            await agent.send_messages(m.OutputOffer(8, 1, 1, 5))
            assert await agent.receive_messages() == [m.OutputKept(8, 1, 1)]
        assert not list(tmp_path.glob("output/*/*"))

    uvloop.run(story())


def test_false_offers_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Seen: a line for each, 700 KB in six seconds."""

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            await agent.send_messages(*[m.OutputOffer(job, 1, 1, 5) for job in range(100)])
            kept = 0
            while kept < 100:
                kept += len(await agent.receive_messages())

    caplog.set_level(logging.INFO)
    uvloop.run(story())
    assert caplog.text.count("may delete the output of unknown job") == 10
    assert caplog.text.count("others of this connection are not logged") == 1


def test_offers_above_the_limit_are_handled_on_the_next_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen: the connection was closed, and so was each next one, on which the agent offered the
    same again: the machine got no more jobs."""
    monkeypatch.setattr(collector, "_MAX_OFFERS", 10)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master:
            kept: set[int] = set()
            for count in (10, 12):
                left = [job for job in range(12) if job not in kept]
                async with master.agent() as agent:
                    await agent.send_messages(*[m.OutputOffer(job, 1, 1, 5) for job in left])
                    while len(kept) < count:
                        for each in await agent.receive_messages():
                            assert isinstance(each, m.OutputKept)
                            kept.add(each.job)
                assert kept == set(range(count))

    uvloop.run(story())
    assert caplog.text.count("offers the output of more than 10 streams; the others are") == 1


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("the store cannot be reached"), RuntimeError("can't start new thread")],
    ids=["store", "threads"],
)
def test_an_offer_is_retried_after_a_failed_lookup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(collector, "RETRY_S", 0.05)

    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.store.add_attempt(8, (5, 5, 0))
            find_machines, calls = master.store.find_machines, 0

            async def owners(of: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise error
                return await find_machines(of)

            monkeypatch.setattr(master.outputs._collector, "_find_machines", owners)
            await agent.send_messages(m.OutputOffer(8, 1, 1, 5))
            await agent.send_stream(await agent.receive_fetch(), b"hello")
            while m.OutputKept(8, 1, 1) not in await agent.receive_messages():
                pass
            assert calls == 2

    uvloop.run(story())


def test_output_that_a_full_disk_refuses_is_collected_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(collector, "RETRY_S", 0.05)

    async def story(disk: Path) -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            ballast = fill_disk(disk)
            master.store.add_attempt(8, (5, 5, 0))
            await agent.send_messages(m.OutputOffer(8, 1, 1, 5))
            await agent.send_stream(await agent.receive_fetch(), b"hello")
            again: list[m.OutputFetch] = []
            while not again:  # an OutputStop comes before, unless the end of the stream was first
                messages = await agent.receive_messages()
                again += [each for each in messages if isinstance(each, m.OutputFetch)]
            path = tmp_path / "output/0/8.1.1"
            expected = f"output of job 8 into {path}, trying again in 0.05 s: No space left"
            assert expected in caplog.text
            ballast.unlink()
            await agent.send_stream(again[0], b"hello")
            while m.OutputKept(8, 1, 1) not in await agent.receive_messages():
                pass
            assert path.read_bytes() == b"hello"

    with mount_small_disk(tmp_path) as disk:
        (tmp_path / "output").symlink_to(disk)
        uvloop.run(story(disk))


def test_output_of_another_machines_attempt_is_ignored(tmp_path: Path) -> None:
    async def story() -> None:
        async with LinkMaster(tmp_path).serving() as master, master.agent() as agent:
            master.store.add_attempt(7, (5, 5, 0))
            master.store.attempts[7, 1] = master.store.attempts[7, 1]._replace(machine_id=2)
            master.store.add_attempt(8, (5, 5, 0))
            await agent.send_messages(m.OutputOffer(7, 1, 1, 5), m.OutputOffer(8, 1, 1, 5))
            assert (await agent.receive_fetch()).job == 8

    uvloop.run(story())
