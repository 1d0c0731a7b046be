"""The agent's core in a story: what master, reaper and disk say, and what it answers.

Time is a number. Every message of the link goes through the codec, every message of the
reaper and every record of the journal through JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.outcome import LostAttempt
from mythjobs.agent.core.turn import (
    Action,
    DeleteOutput,
    ForwardTransfer,
    Json,
    ReadNewOutput,
    RemoveReaper,
    SendToReaper,
    WriteJournal,
)
from mythjobs.clock import Now
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

BASE = {"PATH": "/bin", "HOME": "/root"}


def at(seconds: float) -> Now:
    ms = round(seconds * 1000)
    return Now(1_700_000_000_000 + ms, ms, ms)


def a_run(**given: Any) -> m.Run:
    return m.Run(**{"argv": ["/bin/true"], **given})


class Story:
    """An agent with one reaper `r1`, connected, whose first heartbeat (hb 1) is sent at 0."""

    def __init__(self, *, jobs: int = 2, most: int | None = None, connect: bool = True) -> None:
        self.core = AgentCore(BASE, jobs=most)
        self.now = 0.0
        # What the core asked for last.
        self.actions: list[Action] = []
        self.records: list[Json] = []
        self.told: list[Json] = []
        self.transfers: list[Any] = []
        self.dropped: list[tuple[int, int]] = []
        self.buried: list[str] = []
        self.followed: list[tuple[int, int]] = []
        self.frames: list[m.AgentFrame] = []
        self._grants = 0
        # While the disk is slow, what is written waits for `disk`.
        self.slow_disk = False
        self._unwritten: list[WriteJournal] = []
        self._seq = 0
        self.carry_out(self.core.finish_recovery(at(0)))
        self.hello("r1")
        self.carry_out(self.core.set_start_reaper("r1", at(0)))
        if connect:
            self.core.on_connected(jobs)
            self.said()
            self.acknowledge()

    # The master.

    def grant(
        self, job: int, n: int = 1, *, hb: int = 1, priority: int = 0, **given: Any
    ) -> m.Grant:
        self._grants += 1
        run = a_run(**given.pop("run", {}))
        return m.Grant(self._grants, hb, job, n, priority, run, **given)

    def master(self, *messages: m.MasterMessage, ack: int = 0) -> None:
        frame = codec.master_frame(codec.encode(m.MasterFrame(ack, list(messages))))
        self.carry_out(self.core.on_master_frame(frame, at(self.now)))

    def said(self) -> list[m.AgentMessage]:
        """What the agent says now: every frame that it may send."""
        messages: list[m.AgentMessage] = []
        while frame := self.core.next_frame(at(self.now)):
            self.frames.append(codec.agent_frame(codec.encode(frame)))
            messages += self.frames[-1].messages
        return messages

    def acknowledge(self) -> None:
        self.master(ack=self.frames[-1].no)

    # The reaper.

    def hello(self, reaper: str, *attempts: Json, starting: Sequence[tuple[int, int]] = ()) -> None:
        self.carry_out(self.core.on_reaper_hello(reaper, _json(attempts), starting, at(self.now)))

    def reaper(self, *messages: Json, reaper: str = "r1") -> None:
        self.carry_out(self.core.on_reaper_messages(reaper, _json(messages), at(self.now)))

    def started(self, job: int, n: int = 1) -> Json:
        return {"type": "started", "job": job, "n": n, "pid": 77, "at_ms": at(self.now).wall_ms}

    def ended(self, job: int, n: int = 1, *, code: int = 0, output: Sequence[Any] = ()) -> Json:
        self._seq += 1
        return {
            "type": "ended",
            "seq": self._seq,
            "job": job,
            "n": n,
            "outcome": {"kind": "exited", "code": code},
            "usage": {"wall_s": 0.5},
            "started_ms": 1,
            "ended_ms": 2,
            "output": output,
        }

    def synced(self) -> Json:
        return {"type": "synced", "seq": self._seq}

    def run(self, job: int, n: int = 1, *, output: Sequence[Any] = ()) -> None:
        """It starts and ends, durably."""
        self.reaper(self.started(job, n), self.ended(job, n, output=output), self.synced())

    def reaper_dies(
        self, *ended: Json, left: Sequence[LostAttempt] = (), reaper: str = "r1"
    ) -> None:
        self.carry_out(self.core.on_reaper_death(reaper, _json(ended), left, at(self.now)))

    # What came of it.

    def carry_out(self, actions: Sequence[Action]) -> None:
        self.actions = list(actions)
        for action in actions:
            match action:
                case SendToReaper():
                    self.told += _json([{**each, "to": action.reaper} for each in action.messages])
                case WriteJournal():
                    self.records += _json([action.record])
                    self._unwritten.append(action)
                case ForwardTransfer():
                    self.transfers.append(action.message)
                case DeleteOutput():
                    self.dropped.append(action.key)
                case RemoveReaper():
                    self.buried.append(action.reaper)
                case ReadNewOutput():
                    self.followed.append(action.attempt.key)
        if not self.slow_disk:
            self.disk()

    def disk(self) -> None:
        """All that was written is durable."""
        while self._unwritten:
            token = self._unwritten.pop(0).token
            self.carry_out(self.core.on_journal_synced(token, at(self.now)))

    def take(self, kind: str) -> list[Json]:
        """The messages of this type that the reapers were told since last time."""
        found = [each for each in self.told if each["type"] == kind]
        self.told = [each for each in self.told if each["type"] != kind]
        return found

    def starts(self) -> list[int]:
        return [each["job"] for each in self.take("start") if isinstance(each["job"], int)]

    def held(self) -> list[tuple[int, int, str]]:
        """What a heartbeat of this moment says."""
        self.carry_out(self.core.on_heartbeat_due(at(self.now)))
        if self.frames:
            self.acknowledge()
        [heartbeat] = [each for each in self.said() if isinstance(each, m.Heartbeat)]
        return [(each.job, each.n, each.state) for each in heartbeat.held]


def _json(messages: Sequence[Any]) -> list[Any]:
    decoded: list[Any] = json.loads(json.dumps(messages))
    return decoded
