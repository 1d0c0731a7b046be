"""Timed actions, freezing and changed limits, with and without an agent."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mythjobs.process.reaper.journal import read_journal
from tests.integration.process.reaper_agent import TIMEOUT_S, Agent, Home, reaper, sh

# Echoes each line that it reads, which shows whether the job is running.
ECHO_SCRIPT = 'while read line; do echo "READ $line"; done'


def boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class EchoJob:
    def __init__(self, agent: Agent, job: int, directory: Path, **more: object) -> None:
        self.agent, self.job = agent, job
        path = directory / f"input.{job}"
        os.mkfifo(path)
        self.input_fd = os.open(path, os.O_RDWR)
        agent.start(job, sh(ECHO_SCRIPT), stdin=str(path), watch=True, **more)
        self.pid: int = agent.wait_for("started", job)["pid"]

    def send_line(self, line: str) -> None:
        os.write(self.input_fd, f"{line}\n".encode())

    def wait_echoed(self, count: int) -> None:
        at_least = count * len("READ x\n")
        self.agent.wait_for("grew", self.job, lambda each: each["output"][0][0] >= at_least)

    def freeze(self, holder: str, is_frozen: bool) -> list[str]:
        self.agent.send(
            {"type": "freeze", "job": self.job, "n": 1, "holder": holder, "on": is_frozen}
        )
        holders: list[str] = self.agent.wait_for("frozen", self.job)["holders"]
        return holders

    def replace_actions(self, *actions: list[object]) -> None:
        self.agent.send({"type": "acts", "job": self.job, "n": 1, "acts": actions})

    def close_input(self) -> None:
        """Cause end of file on its input, so that it exits."""
        os.close(self.input_fd)


@pytest.mark.slow
@pytest.mark.parametrize("contain", [False, True])
def test_a_job_is_frozen_until_its_last_holder_releases_it(
    agent: Agent, tmp_path: Path, contain: bool
) -> None:
    job = 30 + contain
    echo = EchoJob(agent, job, tmp_path, contain=contain)
    echo.send_line("a")
    echo.wait_echoed(1)
    assert echo.freeze("user", True) == ["user"]
    assert echo.freeze("pressure", True) == ["pressure", "user"]
    echo.send_line("b")
    assert echo.freeze("user", False) == ["pressure"]
    agent.run(40 + contain, ["sleep", "0.3"])
    assert not [each for each in agent.received if each["type"] == "grew" and each["job"] == job]
    assert echo.freeze("pressure", False) == []
    echo.wait_echoed(2)
    echo.close_input()
    assert agent.wait_ended(job)["outcome"] == {"kind": "exited", "code": 0}


@pytest.mark.slow
def test_frozen_time_does_not_count_for_the_wall_limit(agent: Agent, tmp_path: Path) -> None:
    echo = EchoJob(agent, 3, tmp_path, wall_s=1.0)
    echo.freeze("user", True)
    agent.run(4, ["sleep", "1.2"])
    echo.freeze("user", False)
    echo.send_line("a")
    echo.wait_echoed(1)
    end = agent.wait_ended(3)
    assert end["outcome"] == {"kind": "breached", "limit": "wall"}
    assert end["usage"]["wall_s"] >= 2.1
    assert end["usage"]["wall_s"] - end["usage"]["frozen_s"] >= 1.0
    assert end["usage"]["frozen_s"] >= 1.1
    echo.close_input()


@contextmanager
def without_descriptors(agent: Agent) -> Iterator[None]:
    """No descriptor of the reaper is free, and its reserve is of no use."""
    reaper = agent.hello["pid"]
    soft, hard = resource.prlimit(reaper, resource.RLIMIT_NOFILE)
    resource.prlimit(reaper, resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(reaper, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("contain", [False, True])
def test_a_job_is_thawed_once_descriptors_are_free(
    agent: Agent, tmp_path: Path, contain: bool
) -> None:
    # Seen: the agent was disconnected, and the job stayed frozen for good.
    echo = EchoJob(agent, 50 + contain, tmp_path, contain=contain)
    echo.freeze("user", True)
    echo.send_line("a")
    with without_descriptors(agent):
        assert echo.freeze("user", False) == []
    echo.wait_echoed(1)
    echo.close_input()
    assert agent.wait_ended(echo.job)["outcome"] == {"kind": "exited", "code": 0}


def test_a_job_is_frozen_once_descriptors_are_free(agent: Agent, tmp_path: Path) -> None:
    echo = EchoJob(agent, 52, tmp_path)
    with without_descriptors(agent):
        assert echo.freeze("user", True) == ["user"]
    # Its parent is not this process, so its state can only be polled.
    until_s = time.monotonic() + TIMEOUT_S
    while b") T " not in Path(f"/proc/{echo.pid}/stat").read_bytes():
        assert time.monotonic() < until_s
        time.sleep(0.01)
    echo.send_line("a")
    assert echo.freeze("user", False) == []
    echo.wait_echoed(1)
    echo.close_input()
    assert agent.wait_ended(echo.job)["outcome"] == {"kind": "exited", "code": 0}


def test_the_cpu_limit_is_changed_once_descriptors_are_free(agent: Agent, tmp_path: Path) -> None:
    # The kernel would end the job at its old limit.
    echo = EchoJob(agent, 53, tmp_path, cpu_s=100, best_effort=True)
    with without_descriptors(agent):
        agent.send({"type": "limits", "job": 53, "n": 1, "cpu_s": 1000})
        agent.send({"type": "ping"})
        agent.wait_for("pong")
    until_s = time.monotonic() + TIMEOUT_S
    while resource.prlimit(echo.pid, resource.RLIMIT_CPU)[0] != 1002:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    echo.close_input()
    assert agent.wait_ended(53)["outcome"] == {"kind": "exited", "code": 0}


@pytest.mark.parametrize("contain", [False, True])
def test_a_frozen_job_can_be_stopped(agent: Agent, tmp_path: Path, contain: bool) -> None:
    job = 20 + contain
    echo = EchoJob(agent, job, tmp_path, contain=contain)
    echo.freeze("user", True)
    agent.send({"type": "stop", "job": job, "n": 1, "by": "user"})
    assert agent.wait_for("frozen", job, lambda _: True)["holders"] == []
    end = agent.wait_ended(job)
    assert end["outcome"] == {"kind": "stopped", "by": "user"}
    assert end["frozen_at_stop"] == ["user"]
    assert end["usage"].get("frozen_s", 0.0) <= end["usage"]["wall_s"] < 5
    echo.close_input()


def test_a_job_that_is_being_stopped_cannot_be_frozen(agent: Agent) -> None:
    # Ignores TERM, so it runs until the grace period ends.
    agent.start(11, sh("trap '' TERM; echo; while :; do sleep 60; done"), watch=True, grace_s=0.2)
    agent.wait_for("grew", 11)
    stop = {"type": "stop", "job": 11, "n": 1, "by": "user"}
    agent.send(stop, {"type": "freeze", "job": 11, "n": 1, "holder": "pressure", "on": True})
    assert agent.wait_ended(11)["outcome"] == {"kind": "stopped", "by": "user"}
    assert not [each for each in agent.received if each["type"] == "frozen" and each["job"] == 11]


def test_overdue_actions_run_at_once_and_the_others_in_time_order(
    agent: Agent, tmp_path: Path
) -> None:
    now_ms = boot_ms()
    late = [
        [now_ms + 600_000, "stop", "lease", 5.0],
        [now_ms + 1000, "thaw", "window", 0.0],
        [now_ms - 1000, "freeze", "window", 0.0],
    ]
    echo = EchoJob(agent, 6, tmp_path, acts=late)
    assert agent.wait_for("frozen", 6)["holders"] == ["window"]
    assert agent.wait_for("frozen", 6)["holders"] == []
    assert boot_ms() - now_ms >= 1000
    echo.send_line("a")
    echo.wait_echoed(1)
    # A new list replaces the old one.
    echo.replace_actions([boot_ms() + 50, "stop", "window", 1.0])
    assert agent.wait_ended(6)["outcome"] == {"kind": "stopped", "by": "window"}
    echo.close_input()


def test_withdrawn_actions_are_not_performed(agent: Agent, tmp_path: Path) -> None:
    echo = EchoJob(agent, 7, tmp_path, acts=[[boot_ms() + 1000, "stop", "lease", 1.0]])
    echo.replace_actions()
    assert agent.run(8, ["sleep", "1.1"])["outcome"]["kind"] == "exited"
    echo.close_input()
    assert agent.wait_ended(7)["outcome"] == {"kind": "exited", "code": 0}


def test_an_action_is_performed_without_an_agent(home: Home) -> None:
    with reaper(home) as first:
        first.start(1, ["sleep", "600"], acts=[[boot_ms() + 200, "stop", "lease", 1.0]])
        first.wait_for("started", 1)
        first.close()
        journal = home.reapers / "r1" / "journal"
        limit_s = time.monotonic() + 60
        while not read_journal(journal).ended:
            assert time.monotonic() < limit_s
            os.sched_yield()
        again = Agent(home.reapers / "r1")
        [end] = again.hello["attempts"]
        assert end["outcome"] == {"kind": "stopped", "by": "lease"}
        again.close()


def test_limits_of_a_running_attempt_can_be_changed(agent: Agent) -> None:
    agent.start(9, ["sleep", "600"], wall_s=600)
    agent.wait_for("started", 9)
    agent.send({"type": "limits", "job": 9, "n": 1, "wall_s": 0.2, "grace_s": 1})
    assert agent.wait_ended(9)["outcome"] == {"kind": "breached", "limit": "wall"}


def test_output_over_its_limit_is_a_breach(agent: Agent) -> None:
    end = agent.run(10, ["yes"], output_bytes=100_000)
    assert end["outcome"] == {"kind": "breached", "limit": "output"}
    assert 100_000 < end["output"][0][0] < 2**20


def test_a_freeze_that_lapses_ends_without_an_agent(home: Home) -> None:
    program = "while read line; do echo x > $1; done"
    paths = {job: home.base / f"echo{job}" for job in (1, 2)}
    with reaper(home) as first:
        inputs = []
        for job, path in paths.items():
            fifo = home.base / f"input{job}"
            os.mkfifo(fifo)
            inputs.append(os.open(fifo, os.O_RDWR))
            first.start(job, sh(program, str(path)), stdin=str(fifo))
            first.wait_for("started", job)
        freeze = {"type": "freeze", "n": 1, "on": True}
        lapsing = {**freeze, "job": 1, "holder": "pressure", "lapse_s": 0.1}
        first.send(lapsing, {**freeze, "job": 2, "holder": "user"})
        for job in paths:
            first.wait_for("frozen", job)
        for fd in inputs:
            os.write(fd, b"line\n")
        first.close()
        limit_s = time.monotonic() + 30
        while not paths[1].exists():
            assert time.monotonic() < limit_s
            time.sleep(0.01)
        again = Agent(home.reapers / "r1")
        frozen = [each for each in again.received if each["type"] == "frozen"]
        # An agent that had only hung learns that the first one is thawed.
        assert [(each["job"], each["holders"]) for each in frozen] == [(1, []), (2, ["user"])]
        assert not paths[2].exists()
        for fd in inputs:
            os.close(fd)
        again.close()
