"""The master service without listeners: requests right after its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mythjobs.clock import master_now
from mythjobs.config import keys
from mythjobs.config.state import open_state
from mythjobs.master import requests
from mythjobs.master.explain.machine import find_placement_obstacle
from mythjobs.master.service import Master
from mythjobs.protocol.messages import CAPABILITIES, AgentFrame, Heartbeat, Hello
from mythjobs.protocol.requests import AdHocRun, Submit
from mythjobs.store.transaction import Transaction
from tests.support.disks import mount_small_disk

DEFINE = requests.DefineCommand({"name": "note", "argv": ["/bin/true"]}, False)
SUBMIT = requests.SubmitJob(Submit("run", run=AdHocRun(["/bin/true"])), "anna")


@asynccontextmanager
async def started(path: Path, *, local_agent_wait_s: float) -> AsyncIterator[Master]:
    state = open_state(path / "state")
    master = Master(
        state,
        keys.load_master_key(state),
        allow_local=True,
        local_jobs=2,
        local_agent_wait_s=local_agent_wait_s,
    )
    master.start()
    try:
        yield master
    finally:
        await master.close()


async def attach(master: Master) -> None:
    hello = Hello(1, "key", "", "", "attic", "boot", "first", 2, can=sorted(CAPABILITIES))
    await master.execute(requests.Attach(hello, trusted=True, connection=7))
    master.post(requests.FrameReceived(7, AgentFrame(1, 0, 0, [Heartbeat(1, [])])))


def test_ids_are_not_used_again_after_the_store_has_lost_its_last_changes(tmp_path: Path) -> None:
    # As after a damaged write-ahead log: SQLite reads it up to the first frame that is not intact.
    async def story() -> None:
        store, output = tmp_path / "state" / "store.db", tmp_path / "state" / "output"
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.execute(SUBMIT)).id == 1
        old = store.read_bytes()
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.execute(SUBMIT)).id == 2
        for name in ("0", "12"):
            (output / name).mkdir()
        (output / "lost+found").mkdir()
        (output / "0" / "1.1.1").touch()
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.read_status())["warnings"] == []
        (output / "0" / "2.1.1").touch()
        store.write_bytes(old)
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            [warning] = (await master.read_status())["warnings"]
            assert "there is output of job 2, but the last job in the store is 1" in warning
            assert (await master.read_status())["counts"]["queued"] == 1
            assert (await master.execute(SUBMIT)).id == 2_000_000
            [row] = await master.read(read_held)
            assert row == (1, "held because the store has lost its last changes")
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.read_status())["warnings"] == []

    asyncio.run(story())


def test_the_status_says_that_the_disk_is_full(tmp_path: Path) -> None:
    # Seen: `up` on a disk of 6 MB started, every submit was refused, and `status` told nothing.
    async def story(disk: Path) -> None:
        async with started(disk, local_agent_wait_s=0.0) as master:
            [warning] = (await master.read_status())["warnings"]
            assert warning == (
                f"the disk of the store {disk}/state/store.db is full: 16 MiB must be free; until "
                "then no new jobs, commands and schedules are accepted"
            )

    with mount_small_disk(tmp_path) as disk:
        asyncio.run(story(disk))


def read_held(tx: Transaction) -> list[tuple[int, str]]:
    found = tx.cursor.execute("SELECT job_id, reason FROM job WHERE hold = 1")
    return [(row[0], row[1]) for row in found]


def test_ids_are_not_used_again_after_the_store_was_deleted(tmp_path: Path) -> None:
    # The agents' journals and the output spool still know attempts of the first jobs.
    async def story() -> None:
        store = tmp_path / "state" / "store.db"
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.read_status())["warnings"] == []
            assert (await master.execute(SUBMIT)).id == 1
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.read_status())["warnings"] == []
            assert (await master.execute(SUBMIT)).id == 2
        store.unlink()
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            [warning] = (await master.read_status())["warnings"]
            assert f"the store {store} is new" in warning
            assert (await master.execute(SUBMIT)).id == 2_000_000
        for each in store.parent.glob("store.db*"):
            each.unlink()
        (tmp_path / "state" / "output" / "0").mkdir()
        async with started(tmp_path, local_agent_wait_s=0.0) as master:
            assert (await master.execute(SUBMIT)).id == 2_000_000
            assert (await master.read_status())["warnings"] != []
        # The first jobs of a new state directory are not skipped, also after a restart.
        other = tmp_path / "other"
        for _ in range(2):
            async with started(other, local_agent_wait_s=0.0) as master:
                assert (await master.read_status())["warnings"] == []

    asyncio.run(story())


def test_the_first_requests_after_a_start_wait_for_the_local_agent(tmp_path: Path) -> None:
    # Seen: `mythjobs up`, and a `command add` or `submit` within the tenths of a second that the
    # agent takes to connect, was answered "no machine has joined yet".
    async def story() -> None:
        async with started(tmp_path, local_agent_wait_s=60.0) as master:
            defining = asyncio.create_task(master.execute(DEFINE))
            submitting = asyncio.create_task(master.execute(SUBMIT))
            # Both have been passed on to the master, which does not answer other clients later.
            await master.execute(requests.HoldJobs([]))
            assert not defining.done()
            await attach(master)
            assert (await submitting).reason == "starts on attic"
            await defining
            obstacle = await master.read(
                find_placement_obstacle, master.state, "note", master_now()
            )
            assert obstacle == ""

    asyncio.run(story())


def test_without_an_agent_the_wait_ends_and_the_answer_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with started(tmp_path, local_agent_wait_s=0.05) as master:
            assert "no machine has joined yet" in (await master.execute(SUBMIT)).reason
            # Once a machine has been there, nothing waits for it again.
            await attach(master)
            master.post(requests.Detached(7))
            answer = await asyncio.wait_for(master.execute(SUBMIT), 30)
            assert "not connected" in answer.reason

    asyncio.run(story())
