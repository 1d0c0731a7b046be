"""Starts that an agent sends ahead: the reaper carries out one whenever another attempt ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mythjobs.process.reaper.journal import read_journal
from tests.integration.process.reaper_agent import Agent, Home, reaper, start

LATER = 2**53


class Gate:
    """FIFO from which a job reads until open()."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR)

    def open(self) -> None:
        os.close(self._fd)


def start_waiting_job(agent: Agent, home: Home, job: int) -> Gate:
    gate = Gate(home.base / f"gate{job}")
    agent.start(job, ["cat"], stdin=gate.path)
    agent.wait_for("started", job)
    return gate


def test_an_end_starts_the_first_attempt_sent_ahead(home: Home) -> None:
    with reaper(home) as agent:
        gate = start_waiting_job(agent, home, 1)
        agent.send(*[start(job, ["true"], start_by_ms=LATER) for job in (2, 3)])
        gate.open()
        ends = [agent.wait_for("ended") for _ in range(3)]
        assert [end["job"] for end in ends] == [1, 2, 3]
        assert [end.get("next") for end in ends] == [[2, 1], [3, 1], None]
        agent.wait_synced(ends[-1])
        ended = read_journal(home.reapers / "r1" / "journal").ended
        assert ended.keys() == {(1, 1), (2, 1), (3, 1)}


def test_recalled_attempts_do_not_start(home: Home) -> None:
    with reaper(home) as agent:
        gate = start_waiting_job(agent, home, 1)
        agent.send(start(2, ["true"], start_by_ms=LATER), start(3, ["true"], start_by_ms=LATER))
        agent.send({"type": "recall"})
        assert agent.wait_for("recalled")["attempts"] == [[2, 1], [3, 1]]
        agent.send({"type": "recall"})
        assert agent.wait_for("recalled")["attempts"] == []
        gate.open()
        assert "next" not in agent.wait_ended(1)
        # A recalled attempt may start later like any other.
        assert agent.run(2, ["true"])["outcome"] == {"kind": "exited", "code": 0}


def test_an_attempt_sent_ahead_can_start_at_once(home: Home) -> None:
    with reaper(home) as agent:
        gate = start_waiting_job(agent, home, 1)
        agent.send(start(2, ["true"], start_by_ms=LATER))
        assert agent.run(2, ["true"])["outcome"] == {"kind": "exited", "code": 0}
        # It is not started again, neither by an end nor by a start that comes twice.
        agent.send(start(2, ["true"], start_by_ms=LATER))
        gate.open()
        assert "next" not in agent.wait_ended(1)


def test_an_attempt_is_given_back_after_its_start_by_time(home: Home) -> None:
    with reaper(home) as agent:
        gate = start_waiting_job(agent, home, 1)
        now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        agent.send(start(2, ["true"], start_by_ms=now_ms), start(3, ["true"], start_by_ms=LATER))
        gate.open()
        assert agent.wait_ended(1)["next"] == [3, 1]
        assert agent.wait_for("recalled")["attempts"] == [[2, 1]]


def test_a_lost_connection_drops_what_was_sent_ahead(home: Home) -> None:
    with reaper(home) as first:
        gate = start_waiting_job(first, home, 1)
        first.send(start(2, ["true"], start_by_ms=LATER))
        first.close()
        second = Agent(home.reapers / "r1")
        assert second.hello["starting"] == []
        gate.open()
        assert "next" not in second.wait_ended(1)
        second.close()


def test_a_reaper_that_stops_starts_nothing(home: Home) -> None:
    with reaper(home) as agent:
        start_waiting_job(agent, home, 1)
        agent.send(start(2, ["true"], start_by_ms=LATER))
        agent.send({"type": "ping"})
        agent.wait_for("pong")
        agent.stop_reaper(signal.SIGTERM)
        journal = read_journal(home.reapers / "r1" / "journal")
        assert journal.ended.keys() == {(1, 1)}
        assert not journal.unfinished
