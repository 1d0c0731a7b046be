"""What the reaper does at given instants, and freezing; with the agent there and without."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mythjobs.process.reaper.journal import read_journal
from tests.integration.process.reaper_agent import Agent, Home, reaper, sh

# Says each line that it reads, in capitals: proof that it runs, or that it does not.
PARROT = 'while read line; do echo "SAID $line"; done'


def boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Parrot:
    def __init__(self, agent: Agent, job: int, directory: Path, **more: object) -> None:
        self.agent, self.job = agent, job
        path = directory / f"words.{job}"
        os.mkfifo(path)
        self.words = os.open(path, os.O_RDWR)
        agent.start(job, sh(PARROT), stdin=str(path), watch=True, **more)
        agent.until("started", job)

    def hear(self, word: str) -> None:
        os.write(self.words, f"{word}\n".encode())

    def until_said(self, count: int) -> None:
        at_least = count * len("SAID x\n")
        self.agent.until("grew", self.job, lambda each: each["output"][0][0] >= at_least)

    def freeze(self, holder: str, on: bool) -> list[str]:
        self.agent.send({"type": "freeze", "job": self.job, "n": 1, "holder": holder, "on": on})
        holders: list[str] = self.agent.until("frozen", self.job)["holders"]
        return holders

    def acts(self, *acts: list[object]) -> None:
        self.agent.send({"type": "acts", "job": self.job, "n": 1, "acts": acts})

    def end(self) -> None:
        """Its input comes to its end."""
        os.close(self.words)


@pytest.mark.slow
@pytest.mark.parametrize("contain", [False, True])
def test_a_frozen_job_does_nothing_until_its_last_holder_lets_go(
    agent: Agent, tmp_path: Path, contain: bool
) -> None:
    job = 30 + contain
    parrot = Parrot(agent, job, tmp_path, contain=contain)
    parrot.hear("a")
    parrot.until_said(1)
    assert parrot.freeze("user", True) == ["user"]
    assert parrot.freeze("pressure", True) == ["pressure", "user"]
    parrot.hear("b")
    assert parrot.freeze("user", False) == ["pressure"]
    agent.run(40 + contain, ["sleep", "0.3"])
    assert not [each for each in agent.said if each["type"] == "grew" and each["job"] == job]
    assert parrot.freeze("pressure", False) == []
    parrot.until_said(2)
    parrot.end()
    assert agent.ended(job)["outcome"] == {"kind": "exited", "code": 0}


@pytest.mark.slow
def test_frozen_time_does_not_count_for_the_wall_limit(agent: Agent, tmp_path: Path) -> None:
    parrot = Parrot(agent, 3, tmp_path, wall_s=1.0)
    parrot.freeze("user", True)
    agent.run(4, ["sleep", "1.2"])
    parrot.freeze("user", False)
    parrot.hear("a")
    parrot.until_said(1)
    end = agent.ended(3)
    assert end["outcome"] == {"kind": "breached", "limit": "wall"}
    assert end["usage"]["wall_s"] >= 2.1
    assert end["usage"]["wall_s"] - end["usage"]["frozen_s"] >= 1.0
    assert end["usage"]["frozen_s"] >= 1.1
    parrot.end()


@pytest.mark.parametrize("contain", [False, True])
def test_a_frozen_job_can_be_stopped(agent: Agent, tmp_path: Path, contain: bool) -> None:
    job = 20 + contain
    parrot = Parrot(agent, job, tmp_path, contain=contain)
    parrot.freeze("user", True)
    agent.send({"type": "stop", "job": job, "n": 1, "by": "user"})
    assert agent.until("frozen", job, lambda _: True)["holders"] == []
    end = agent.ended(job)
    assert end["outcome"] == {"kind": "stopped", "by": "user"}
    assert end["usage"].get("frozen_s", 0.0) <= end["usage"]["wall_s"] < 5
    parrot.end()


def test_what_is_being_ended_is_not_frozen(agent: Agent) -> None:
    # Deaf, so that it is there until its grace is over.
    agent.start(11, sh("trap '' TERM; echo; while :; do sleep 60; done"), watch=True, grace_s=0.2)
    agent.until("grew", 11)
    stop = {"type": "stop", "job": 11, "n": 1, "by": "user"}
    agent.send(stop, {"type": "freeze", "job": 11, "n": 1, "holder": "pressure", "on": True})
    assert agent.ended(11)["outcome"] == {"kind": "stopped", "by": "user"}
    assert not [each for each in agent.said if each["type"] == "frozen" and each["job"] == 11]


def test_an_act_that_is_late_is_done_at_once_and_the_others_in_their_order(
    agent: Agent, tmp_path: Path
) -> None:
    now_ms = boot_ms()
    late = [
        [now_ms + 600_000, "stop", "lease", 5.0],
        [now_ms + 300, "thaw", "window", 0.0],
        [now_ms - 1000, "freeze", "window", 0.0],
    ]
    parrot = Parrot(agent, 6, tmp_path, acts=late)
    assert agent.until("frozen", 6)["holders"] == ["window"]
    assert agent.until("frozen", 6)["holders"] == []
    assert boot_ms() - now_ms >= 300
    parrot.hear("a")
    parrot.until_said(1)
    # A new list stands instead of the old one.
    parrot.acts([boot_ms() + 50, "stop", "window", 1.0])
    assert agent.ended(6)["outcome"] == {"kind": "stopped", "by": "window"}
    parrot.end()


def test_acts_that_were_taken_back_are_not_done(agent: Agent, tmp_path: Path) -> None:
    parrot = Parrot(agent, 7, tmp_path, acts=[[boot_ms() + 400, "stop", "lease", 1.0]])
    parrot.acts()
    assert agent.run(8, ["sleep", "0.5"])["outcome"]["kind"] == "exited"
    parrot.end()
    assert agent.ended(7)["outcome"] == {"kind": "exited", "code": 0}


def test_an_act_is_done_with_the_agent_dead(home: Home) -> None:
    with reaper(home) as first:
        first.start(1, ["sleep", "600"], acts=[[boot_ms() + 200, "stop", "lease", 1.0]])
        first.until("started", 1)
        first.close()
        journal = home.reapers / "r1" / "journal"
        limit_s = time.monotonic() + 20
        while not read_journal(journal).ended:
            assert time.monotonic() < limit_s
            os.sched_yield()
        again = Agent(home.reapers / "r1")
        [end] = again.hello["attempts"]
        assert end["outcome"] == {"kind": "stopped", "by": "lease"}
        again.close()


def test_limits_can_be_changed_while_it_runs(agent: Agent) -> None:
    agent.start(9, ["sleep", "600"], wall_s=600)
    agent.until("started", 9)
    agent.send({"type": "limits", "job": 9, "n": 1, "wall_s": 0.2, "grace_s": 1})
    assert agent.ended(9)["outcome"] == {"kind": "breached", "limit": "wall"}


def test_more_output_than_its_limit_is_a_breach(agent: Agent) -> None:
    end = agent.run(10, ["yes"], output_bytes=100_000)
    assert end["outcome"] == {"kind": "breached", "limit": "output"}
    assert 100_000 < end["output"][0][0] < 2**20
