"""A state disk that hangs: the agent goes on to renew the leases of running jobs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.config.runtime import ensure_runtime_dir
from mythjobs.config.state import StateDir, open_state
from mythjobs.protocol import messages as m
from tests.support.agent_master import (
    ScriptedMaster,
    run_agent_process,
    run_master,
    terminate_reapers,
)
from tests.support.disks import HangingDisk, mount_hanging_disk

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[HangingDisk]:
    with mount_hanging_disk(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def state(disk: HangingDisk) -> Iterator[StateDir]:
    state = open_state(disk.path / "s")
    yield state
    terminate_reapers(state)
    shutil.rmtree(ensure_runtime_dir(state), ignore_errors=True)


async def receive_heartbeats(master: ScriptedMaster, count: int) -> m.Heartbeat:
    """Wait for this number of heartbeats from now on, and return the last one."""
    master.received = [each for each in master.received if not isinstance(each, m.Heartbeat)]
    for _ in range(count):
        beat = await master.receive(m.Heartbeat)
    return beat


def test_heartbeats_continue_while_the_disk_hangs(disk: HangingDisk, state: StateDir) -> None:
    # Seen: the event loop wrote and synced the journal itself, and hung. Then it sent no heartbeat,
    # and the master gave the machine's jobs to others once their leases had expired.
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/bin/echo", "some output")
            await master.receive(m.OutputOffer)
            disk.freeze()
            try:
                # Each needs the disk: a deletion, a record before a start, and one after a start.
                await master.send(m.OutputKept(1, 1, 1))
                await master.grant(2, "/bin/true", terms={"lease_s": 600.0})
                await master.grant(3, "/bin/true")
                beat = await receive_heartbeats(master, 10)
                assert beat.held == [m.HeldAttempt(2, 1, "leased"), m.HeldAttempt(3, 1, "leased")]
            finally:
                disk.thaw()
            for job in (2, 3):
                ended = await master.receive(m.Ended, job=job)
                assert ended.outcome == {"kind": "exited", "code": 0}

    asyncio.run(scenario())
