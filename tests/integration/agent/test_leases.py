"""Leases and hours of real processes, enforced with an agent and by the reaper alone."""

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
from mythjobs.protocol.run_spec import HoursSpec
from tests.support.agent_master import run_agent_process, run_master

pytestmark = pytest.mark.slow
FOREVER = ("/bin/sh", "-c", "exec sleep 600 >$0")


def held_fifo(path: Path) -> str:
    """Return a FIFO that the job opens for writing: its end of file means that the job is gone."""
    os.mkfifo(path)
    return str(path)


def open_fifo(path: Path) -> int:
    """Return a descriptor of a FIFO open at both ends: the job need not wait to open it."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


async def wait_released(path: Path) -> float:
    """Wait for the FIFO's end of file. Return the time on CLOCK_BOOTTIME."""

    def read() -> float:
        with path.open("rb") as file:
            file.read()
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    return await asyncio.wait_for(asyncio.to_thread(read), 60)


def open_for(seconds: float, closing: str) -> dict[str, Any]:
    """Return terms with closed hours and an override that allows the job for `seconds`."""
    minute = time.strftime("%H:%M", time.gmtime(time.time() + 6 * 3600))
    later = time.strftime("%H:%M", time.gmtime(time.time() + 7 * 3600))
    until_ms = int((time.time() + seconds) * 1000)
    hours = HoursSpec([[f"{minute}-{later}"], [], []], "UTC", closing, 2.0, [("allow", until_ms)])
    return {"hours": hours, "command": "transcode"}


def test_reaper_stops_job_at_lease_expiry_without_agent(state: StateDir, tmp_path: Path) -> None:
    fifo = held_fifo(tmp_path / "fifo")

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state) as agent:
            await master.wait_connected()
            await master.grant(1, *FOREVER, fifo, terms={"lease_s": 7.0, "start_by_s": 6.0})
            end = asyncio.create_task(wait_released(tmp_path / "fifo"))
            await master.receive(m.Started)
            # Answered heartbeats renew the first lease.
            for _ in range(8):
                await master.receive(m.Heartbeat)
            killed = time.clock_gettime(time.CLOCK_BOOTTIME)
            agent.signal(signal.SIGKILL)
            await agent.wait()
            # At most one lease remained from the last answered heartbeat.
            ended_s = await end
            assert killed < ended_s < killed + 7.0
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            ended = await master.receive(m.Ended)
            assert ended.outcome == {"kind": "stopped", "by": "lease"}

    asyncio.run(scenario())


def test_lease_expires_if_master_answers_no_heartbeats(state: StateDir, tmp_path: Path) -> None:
    fifo = held_fifo(tmp_path / "fifo")

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            granted = time.clock_gettime(time.CLOCK_BOOTTIME)
            await master.grant(1, *FOREVER, fifo, terms={"lease_s": 6.0, "start_by_s": 5.0})
            master.acknowledges = False
            ended_s = await wait_released(tmp_path / "fifo")
            assert ended_s < granted + 6.0

    asyncio.run(scenario())


@pytest.mark.parametrize("closing, by", [("requeue", "window"), ("terminate", "window_closed")])
def test_reaper_stops_job_at_window_close_without_agent(
    state: StateDir, tmp_path: Path, closing: str, by: str
) -> None:
    fifo = held_fifo(tmp_path / "fifo")

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state) as agent:
            await master.wait_connected()
            closes = time.clock_gettime(time.CLOCK_BOOTTIME) + 6.0
            await master.grant(1, *FOREVER, fifo, terms=open_for(6.0, closing))
            end = asyncio.create_task(wait_released(tmp_path / "fifo"))
            await master.receive(m.Started)
            agent.signal(signal.SIGKILL)
            await agent.wait()
            assert abs(await end - closes) < 2.0
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            assert (await master.receive(m.Ended)).outcome == {"kind": "stopped", "by": by}

    asyncio.run(scenario())


def test_closing_window_freezes_job_until_hours_change(state: StateDir, tmp_path: Path) -> None:
    go = open_fifo(tmp_path / "go")
    script = f"read _ <{tmp_path}/go; exit 7"

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/bin/sh", "-c", script, terms=open_for(4.0, "freeze"))
            await master.receive(m.Started)
            assert (await master.receive(m.Frozen)).holders == ["window"]
            # The job can read its line, but is frozen.
            os.write(go, b"\n")
            await master.send(m.Freeze(1, 1, "user", True))
            assert (await master.receive(m.Frozen)).holders == ["user", "window"]
            await master.send(m.HoursChanged(1, 1, None))
            assert (await master.receive(m.Frozen)).holders == ["user"]
            await master.send(m.Freeze(1, 1, "user", False))
            assert (await master.receive(m.Frozen)).holders == []
            assert (await master.receive(m.Ended)).outcome == {"kind": "exited", "code": 7}

    asyncio.run(scenario())
    os.close(go)


def test_new_agent_reports_freeze_holders_of_adopted_job(state: StateDir, tmp_path: Path) -> None:
    go = open_fifo(tmp_path / "go")

    async def scenario() -> None:
        async with run_master(state) as master:
            async with run_agent_process(state) as agent:
                await master.wait_connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go")
                await master.receive(m.Started)
                await master.send(m.Freeze(1, 1, "user", True))
                await master.receive(m.Frozen)
                agent.signal(signal.SIGKILL)
                await agent.wait()
            async with run_agent_process(state):
                await master.wait_connected()
                assert (await master.receive(m.Frozen)).holders == ["user"]
                await master.send(m.Freeze(1, 1, "user", False))
                os.write(go, b"\n")
                assert (await master.receive(m.Ended)).outcome["kind"] == "exited"

    asyncio.run(scenario())
    os.close(go)


def test_failed_job_reports_retry_later_match(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            script = "echo begun; echo NAS offline >&2; exit 1"
            await master.grant(1, "/bin/sh", "-c", script, later="NAS \\w+")
            ended = await master.receive(m.Ended)
            assert (ended.outcome["code"], ended.later) == (1, "NAS offline")

    asyncio.run(scenario())
