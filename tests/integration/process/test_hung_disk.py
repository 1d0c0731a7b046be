"""A disk that hangs: the reaper goes on to enforce limits and to respond."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.process.reaper.journal import read_journal
from tests.integration.process.reaper_agent import Agent, Home, reaper, sh
from tests.support.disks import HangingDisk, mount_hanging_disk

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[HangingDisk]:
    with mount_hanging_disk(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def agent(disk: HangingDisk) -> Iterator[Agent]:
    home = Home(disk.path)
    home.runtime = disk.path.parent / "runtime"
    with reaper(home) as connected:
        try:
            yield connected
        finally:
            if connected.is_frozen:
                disk.thaw()


def freeze(disk: HangingDisk, agent: Agent) -> None:
    disk.freeze()
    agent.is_frozen = True


def thaw(disk: HangingDisk, agent: Agent) -> None:
    disk.thaw()
    agent.is_frozen = False


def ping(agent: Agent) -> None:
    agent.send({"type": "ping"})
    agent.wait_for("pong")


def test_limits_and_leases_hold_while_the_disk_hangs(disk: HangingDisk, agent: Agent) -> None:
    # Seen: the event loop wrote and synced the journal itself, and hung.
    acts = [[1, "freeze", "x", 0]]
    agent.start(1, ["sleep", "600"], wall_s=1)
    agent.start(2, ["sleep", "600"])
    agent.start(3, ["sleep", "600"], acts=acts)
    agent.wait_synced(agent.run(4, ["true"]))
    freeze(disk, agent)
    # The first record since then.
    agent.start(5, sh("exit 5"))
    ping(agent)
    assert agent.wait_ended(1)["outcome"] == {"kind": "breached", "limit": "wall"}
    agent.send({"type": "acts", "job": 2, "n": 1, "acts": [[1, "stop", "lease", 1.0]]})
    end = agent.wait_ended(2)
    assert end["outcome"] == {"kind": "stopped", "by": "lease"}
    agent.send({"type": "stop", "job": 3, "n": 1, "by": "user"})
    agent.wait_ended(3)
    ping(agent)
    # What is not in the journal was not started, and is not durable.
    synced = [each["seq"] for each in agent.received if each["type"] == "synced"]
    assert max(synced) < end["seq"]
    assert not [each for each in agent.received if each.get("job") == 5]

    thaw(disk, agent)
    end = agent.wait_ended(5)
    assert end["outcome"] == {"kind": "exited", "code": 5}
    agent.wait_synced(end)
    ended = set(read_journal(disk.path / "reapers" / "r1" / "journal").ended)
    assert ended == {(job, 1) for job in range(1, 6)}


def test_a_start_that_waits_for_the_disk_can_be_stopped(disk: HangingDisk, agent: Agent) -> None:
    ran = disk.path.parent / "ran"
    freeze(disk, agent)
    agent.start(1, ["touch", str(ran)])
    agent.send({"type": "stop", "job": 1, "n": 1, "by": "lease"})
    ping(agent)
    thaw(disk, agent)
    # Its lease has expired, so not even its first instruction may run.
    end = agent.wait_ended(1)
    assert end["outcome"] == {"kind": "stopped", "by": "lease"}
    assert end["started_ms"] is None
    assert not ran.exists()


def test_output_that_the_disk_does_not_take_delays_no_limit(
    disk: HangingDisk, agent: Agent
) -> None:
    for job in range(1, 41):
        agent.start(job, ["cat", "/dev/zero"], wall_s=2, keep=[100, 2**20], grace_s=1)
    for job in range(1, 41):
        agent.wait_for("started", job)
    freeze(disk, agent)
    agent.start(50, ["sleep", "600"], wall_s=2)
    begun_s = time.monotonic()
    for _ in range(20):
        ping(agent)
    # Seen: each of the 40 waited 50 ms in each turn of the event loop.
    assert time.monotonic() - begun_s < 20
    thaw(disk, agent)
    for job in range(1, 41):
        end = agent.wait_ended(job)
        assert end["outcome"] == {"kind": "breached", "limit": "wall"}
        assert end["usage"]["wall_s"] < 8


def test_a_message_about_a_lost_agent_waits_for_no_disk(disk: HangingDisk, agent: Agent) -> None:
    freeze(disk, agent)
    agent.socket.sendall(b"nonsense\n")
    while agent.receive():
        pass
    second = Agent(disk.path / "reapers" / "r1")
    ping(second)
    second.close()
    thaw(disk, agent)
    os.sync()
