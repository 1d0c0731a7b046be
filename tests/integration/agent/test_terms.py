"""Leases and hours of real processes, kept by agent and reaper and by the reaper alone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from tests.support.agent_master import a_master, an_agent

pytestmark = pytest.mark.slow
FOREVER = ("/bin/sh", "-c", "exec sleep 600 >$0")


def held(path: Path) -> str:
    """A FIFO that the job holds open for writing: its end of file says that nothing of it lives."""
    os.mkfifo(path)
    return str(path)


def opened(path: Path) -> int:
    """A FIFO that is open at both ends, so that no job waits to open it."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


async def gone(path: Path) -> float:
    """When nobody holds it any more, on CLOCK_BOOTTIME."""

    def read() -> float:
        with path.open("rb") as file:
            file.read()
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    return await asyncio.wait_for(asyncio.to_thread(read), 20)


def open_for(seconds: float, closing: str) -> dict[str, Any]:
    """Hours that are shut now, but for an allowance that ends so soon."""
    minute = time.strftime("%H:%M", time.gmtime(time.time() + 6 * 3600))
    later = time.strftime("%H:%M", time.gmtime(time.time() + 7 * 3600))
    until_ms = int((time.time() + seconds) * 1000)
    hours = m.Hours([[f"{minute}-{later}"], [], []], "UTC", closing, 2.0, [("allow", until_ms)])
    return {"hours": hours, "command": "transcode"}


def test_a_lease_that_nobody_renews_ends_the_job_with_the_agent_dead(
    state: StateDir, tmp_path: Path
) -> None:
    fifo = held(tmp_path / "fifo")

    async def story() -> None:
        async with a_master(state) as master, an_agent(state) as agent:
            await master.connected()
            await master.grant(1, *FOREVER, fifo, terms={"lease_s": 4.0, "start_by_s": 2.0})
            end = asyncio.create_task(gone(tmp_path / "fifo"))
            await master.hear(m.Started)
            # Answered heartbeats carry it past its first lease.
            for _ in range(8):
                await master.hear(m.Heartbeat)
            killed = time.clock_gettime(time.CLOCK_BOOTTIME)
            agent.signal(signal.SIGKILL)
            await agent.ended()
            # It had at most a whole lease from the last heartbeat that was answered.
            over = await end
            assert killed < over < killed + 4.0
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            ended = await master.hear(m.Ended)
            assert ended.outcome == {"kind": "stopped", "by": "lease"}

    asyncio.run(story())


def test_a_master_that_answers_no_heartbeats_lets_the_lease_run_out(
    state: StateDir, tmp_path: Path
) -> None:
    fifo = held(tmp_path / "fifo")

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            granted = time.clock_gettime(time.CLOCK_BOOTTIME)
            await master.grant(1, *FOREVER, fifo, terms={"lease_s": 2.0, "start_by_s": 1.0})
            master.acknowledges = False
            over = await gone(tmp_path / "fifo")
            assert over < granted + 2.0

    asyncio.run(story())


@pytest.mark.parametrize("closing, by", [("requeue", "window"), ("terminate", "window_closed")])
def test_a_window_that_closes_ends_the_job_with_the_agent_dead(
    state: StateDir, tmp_path: Path, closing: str, by: str
) -> None:
    fifo = held(tmp_path / "fifo")

    async def story() -> None:
        async with a_master(state) as master, an_agent(state) as agent:
            await master.connected()
            closes = time.clock_gettime(time.CLOCK_BOOTTIME) + 2.5
            await master.grant(1, *FOREVER, fifo, terms=open_for(2.5, closing))
            end = asyncio.create_task(gone(tmp_path / "fifo"))
            await master.hear(m.Started)
            agent.signal(signal.SIGKILL)
            await agent.ended()
            assert abs(await end - closes) < 2.0
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            assert (await master.hear(m.Ended)).outcome == {"kind": "stopped", "by": by}

    asyncio.run(story())


def test_a_window_that_closes_freezes_the_job_and_other_hours_let_it_go_on(
    state: StateDir, tmp_path: Path
) -> None:
    go = opened(tmp_path / "go")
    script = f"read _ <{tmp_path}/go; exit 7"

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            await master.grant(1, "/bin/sh", "-c", script, terms=open_for(1.0, "freeze"))
            await master.hear(m.Started)
            assert (await master.hear(m.Frozen)).holders == ["window"]
            # It has its line, and stands still.
            os.write(go, b"\n")
            await master.send(m.Freeze(1, 1, "user", True))
            assert (await master.hear(m.Frozen)).holders == ["user", "window"]
            await master.send(m.HoursChanged(1, 1, None))
            assert (await master.hear(m.Frozen)).holders == ["user"]
            await master.send(m.Freeze(1, 1, "user", False))
            assert (await master.hear(m.Frozen)).holders == []
            assert (await master.hear(m.Ended)).outcome == {"kind": "exited", "code": 7}

    asyncio.run(story())
    os.close(go)


def test_a_new_agent_says_who_freezes_what_it_adopts(state: StateDir, tmp_path: Path) -> None:
    go = opened(tmp_path / "go")

    async def story() -> None:
        async with a_master(state) as master:
            async with an_agent(state) as agent:
                await master.connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go")
                await master.hear(m.Started)
                await master.send(m.Freeze(1, 1, "user", True))
                await master.hear(m.Frozen)
                agent.signal(signal.SIGKILL)
                await agent.ended()
            async with an_agent(state):
                await master.connected()
                assert (await master.hear(m.Frozen)).holders == ["user"]
                await master.send(m.Freeze(1, 1, "user", False))
                os.write(go, b"\n")
                assert (await master.hear(m.Ended)).outcome["kind"] == "exited"

    asyncio.run(story())
    os.close(go)


def test_a_failure_whose_output_says_later_is_told_as_that(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            script = "echo begun; echo NAS offline >&2; exit 1"
            await master.grant(1, "/bin/sh", "-c", script, later="NAS \\w+")
            ended = await master.hear(m.Ended)
            assert (ended.outcome["code"], ended.later) == (1, "NAS offline")

    asyncio.run(story())
