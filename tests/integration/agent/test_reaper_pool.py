"""Reapers that hang: continued, or killed and replaced."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import select
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mythjobs.agent.core.attempt import Key
from mythjobs.agent.dead_reaper import DeadReaper
from mythjobs.agent.reaper_pool import ReaperPool
from mythjobs.agent.service import read_boot_id
from mythjobs.config.state import AgentDir
from mythjobs.process.cgroup import mounts
from tests.integration.process.reaper_agent import start
from tests.support.disks import mount_hanging_disk

pytestmark = pytest.mark.slow

_TIMEOUT_S = 60
_PING_S = 0.3


class Handler:
    """Records what the pool reports."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.ready: list[str] = []
        self.deaths: list[tuple[str, DeadReaper]] = []
        self._changed = asyncio.Event()

    def on_reaper_hello(self, reaper: str, attempts: Sequence[Any], starting: set[Key]) -> None:
        self.messages += attempts
        self._changed.set()

    def on_reaper_messages(self, reaper: str, messages: Sequence[Any]) -> None:
        self.messages += messages
        self._changed.set()

    def on_reaper_death(self, reaper: str, dead: DeadReaper) -> None:
        self.deaths.append((reaper, dead))
        self._changed.set()

    def on_reaper_ready(self, reaper: str) -> None:
        self.ready.append(reaper)
        self._changed.set()

    def failed(self, error: Exception) -> None:
        raise error

    async def wait_for(self, kind: str, job: int | None = None) -> Any:
        while True:
            for each in self.messages:
                if each["type"] == kind and job in (None, each.get("job")):
                    return each
            await self.wait_change()

    async def wait_synced(self, seq: int) -> None:
        while not any(m["type"] == "synced" and m["seq"] >= seq for m in self.messages):
            await self.wait_change()

    async def wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Pool:
    def __init__(self, root: Path, runtime: Path) -> None:
        self.directory = AgentDir(root)
        root.mkdir(exist_ok=True)
        self.directory.create()
        runtime.mkdir(exist_ok=True)
        self.handler = Handler()
        self.reapers = ReaperPool(self.directory, runtime, read_boot_id(), self.handler, _PING_S)

    async def start_job(self, job: int, argv: list[str]) -> int:
        while not self.handler.ready:
            await self.handler.wait_change()
        self.reapers.send(self.handler.ready[-1], [start(job, argv)])
        return int((await self.handler.wait_for("started", job))["pid"])

    @property
    def reaper_pid(self) -> int:
        return int(self.reapers.pids()[-1])


@asynccontextmanager
async def run_pool(pool: Pool) -> AsyncIterator[None]:
    async with asyncio.timeout(_TIMEOUT_S):
        await pool.reapers.adopt_existing()
        task = asyncio.create_task(pool.reapers.maintain())
        try:
            yield
        finally:
            await pool.reapers.terminate(20)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await pool.reapers.close()


async def leave_reaper(tmp_path: Path) -> int:
    """Start a reaper and a job in it, end their agent, and return the reaper's pid."""
    pool = Pool(tmp_path / "agent", tmp_path / "run")
    async with asyncio.timeout(_TIMEOUT_S):
        await pool.reapers.adopt_existing()
        task = asyncio.create_task(pool.reapers.maintain())
        await pool.start_job(1, ["sleep", "600"])
        pid = pool.reaper_pid
        task.cancel()
        await pool.reapers.close()
    return pid


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process in a cgroup: SIGCONT does not continue it."""
    unified = mounts.read_cgroup_mounts().unified
    group = f"{unified}/test-frozen-{os.getpid()}"
    try:
        os.mkdir(group)
        Path(group, "cgroup.procs").write_text(str(pid))
    except OSError as error:
        pytest.skip(f"no process can be frozen here: {error}")
    try:
        Path(group, "cgroup.freeze").write_text("1")
        yield
    finally:
        Path(group, "cgroup.freeze").write_text("0")
        with suppress(OSError):
            Path(str(unified), "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            os.rmdir(group)


def test_a_stopped_reaper_is_continued_and_keeps_its_jobs(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = Pool(tmp_path / "agent", tmp_path / "run")
        async with run_pool(pool):
            os.mkfifo(tmp_path / "go")
            await pool.start_job(1, ["cat", str(tmp_path / "go")])
            os.kill(pool.reaper_pid, signal.SIGSTOP)
            await asyncio.to_thread((tmp_path / "go").write_text, "")
            # Seen: a stopped reaper was never noticed, and its jobs never ended.
            end = await pool.handler.wait_for("ended", 1)
            assert end["outcome"] == {"kind": "exited", "code": 0}
            assert not pool.handler.deaths

    asyncio.run(scenario())


def test_a_journal_that_cannot_be_written_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Observed: on a full disk jobs stayed running without a word outside of the reaper's log."""
    caplog.set_level(logging.INFO)

    async def wait_logged(text: str) -> None:
        while text not in caplog.text:
            await pool.handler.wait_change()  # pongs come all the time

    async def scenario() -> None:
        async with run_pool(pool):
            await pool.start_job(1, ["cat", str(tmp_path / "go")])
            # Writes beyond this size fail, as on a full disk.
            before = resource.prlimit(pool.reaper_pid, resource.RLIMIT_FSIZE, (1, -1))
            (tmp_path / "go").write_text("")
            seq = (await pool.handler.wait_for("ended", 1))["seq"]
            await wait_logged("/journal: File too large; ends of jobs are reported once that is")
            synced = [each["seq"] for each in pool.handler.messages if each["type"] == "synced"]
            assert max(synced, default=0) < seq
            resource.prlimit(pool.reaper_pid, resource.RLIMIT_FSIZE, before)
            await pool.handler.wait_synced(seq)
            await wait_logged("/journal is written again")

    pool = Pool(tmp_path / "agent", tmp_path / "run")
    os.mkfifo(tmp_path / "go")
    asyncio.run(scenario())


def test_a_hung_reaper_is_killed_and_replaced_and_its_jobs_are_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = Pool(tmp_path / "agent", tmp_path / "run")
        async with run_pool(pool):
            leader = os.pidfd_open(await pool.start_job(1, ["sleep", "600"]))
            first = pool.handler.ready[-1]
            with frozen(pool.reaper_pid):
                while not pool.handler.deaths:
                    await pool.handler.wait_change()
            [(reaper, dead)] = pool.handler.deaths
            assert reaper == first
            [lost] = dead.lost
            assert lost.key == (1, 1)
            assert lost.why == "the reaper hung and was killed"
            assert select.select([leader], [], [], _TIMEOUT_S)[0]
            os.close(leader)
            pool.handler.messages.clear()
            while pool.handler.ready[-1] == first:
                await pool.handler.wait_change()
            pool.reapers.send(pool.handler.ready[-1], [start(2, ["true"])])
            await pool.handler.wait_for("ended", 2)

    asyncio.run(scenario())


def test_an_agent_that_finds_a_hung_reaper_starts_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        with frozen(await leave_reaper(tmp_path)):
            after = Pool(tmp_path / "agent", tmp_path / "run")
            async with run_pool(after):
                [(_, dead)] = after.handler.deaths
                assert [lost.key for lost in dead.lost] == [(1, 1)]

    asyncio.run(scenario())


def test_the_pid_of_a_reaper_is_known_before_its_hello(tmp_path: Path) -> None:
    # Observed: a heartbeat was due between the connection to a new reaper and its hello, and
    # KeyError: 'pid' ended the agent.
    async def scenario() -> None:
        async with asyncio.timeout(_TIMEOUT_S):
            pid = await leave_reaper(tmp_path)
            os.kill(pid, signal.SIGSTOP)
            after = Pool(tmp_path / "agent", tmp_path / "run")
            adoption = asyncio.create_task(after.reapers.adopt_existing())
            try:
                while not (pids := after.reapers.pids()):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                assert pids == [str(pid)]
                assert not adoption.done()
            finally:
                os.kill(pid, signal.SIGCONT)
                await adoption
                await after.reapers.terminate(20)
                await after.reapers.close()

    asyncio.run(scenario())


def test_jobs_of_a_reaper_that_cannot_even_be_killed_are_ended(tmp_path: Path) -> None:
    async def scenario(root: Path) -> None:
        pool = Pool(root, tmp_path / "run")
        async with run_pool(pool):
            leader = os.pidfd_open(await pool.start_job(1, ["sleep", "600"]))
            pool.reapers.send(pool.handler.ready[-1], [start(2, ["true"])])
            end = await pool.handler.wait_for("ended", 2)
            await pool.handler.wait_synced(end["seq"])
            pid = pool.reaper_pid
            disk.freeze()
            # Its start record is never written: a thread of the reaper is in the kernel for good.
            pool.reapers.send(pool.handler.ready[-1], [start(3, ["true"])])
            try:
                with frozen(pid):
                    while not pool.handler.deaths:
                        await pool.handler.wait_change()
                    assert os.path.exists(f"/proc/{pid}/task")
                    [(_, dead)] = pool.handler.deaths
                    assert [lost.key for lost in dead.lost] == [(1, 1)]
                    assert select.select([leader], [], [], _TIMEOUT_S)[0]
            finally:
                disk.thaw()
            os.close(leader)

    with mount_hanging_disk(tmp_path) as disk:
        asyncio.run(scenario(disk.path / "agent"))
