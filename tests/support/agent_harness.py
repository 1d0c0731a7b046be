"""Test harness of the agent core, with scripted master, reaper and disk.

Time is a number. Messages of the link go through the codec; messages of the reaper and journal
records go through JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mythjobs.agent.core import turn
from mythjobs.agent.core.attempt import Phase
from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.outcome import LostAttempt
from mythjobs.agent.core.starts import StartGate
from mythjobs.agent.core.turn import Action, Json
from mythjobs.clock import Now
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec

BASE_ENVIRONMENT = {"PATH": "/bin", "HOME": "/root"}


def at(seconds: float) -> Now:
    ms = round(seconds * 1000)
    return Now(1_700_000_000_000 + ms, ms, ms)


def make_run(**given: Any) -> RunSpec:
    return RunSpec(**{"argv": ["/bin/true"], **given})


class AgentHarness:
    """An agent with one reaper `r1`, connected, whose first heartbeat (hb 1) is sent at 0."""

    def __init__(
        self,
        *,
        jobs: int = 2,
        jobs_limit: int | None = None,
        connect: bool = True,
        own: OwnPolicy = NO_OWN_POLICY,
        gate: StartGate | None = None,
    ) -> None:
        self.core = AgentCore(BASE_ENVIRONMENT, own.with_ceiling(jobs_limit), gate)
        self.now = 0.0
        # Actions that the core returned last.
        self.actions: list[Action] = []
        self.records: list[Json] = []
        self.reaper_messages: list[Json] = []
        self.transfers: list[Any] = []
        self.deleted_outputs: list[tuple[int, int]] = []
        self.removed_reapers: list[str] = []
        self.output_reads: list[tuple[int, int]] = []
        self.input_checks: list[turn.CheckInputs] = []
        self.frames: list[m.AgentFrame] = []
        self._grants = 0
        # With a slow disk, records are durable only after `sync_journal`.
        self.slow_disk = False
        # The reaper gives back at once what was sent ahead.
        self.answers_recalls = True
        self._unsynced: list[turn.WriteJournal] = []
        self._seq = 0
        self.execute(self.core.finish_recovery(at(0)))
        self.reaper_connects("r1")
        self.execute(self.core.set_start_reaper("r1", at(0)))
        if connect:
            self.core.on_connected(jobs)
            self.send_all()
            self.master_acknowledges()

    # The master.

    def make_grant(
        self, job: int, n: int = 1, *, hb: int = 1, priority: int = 0, **given: Any
    ) -> m.Grant:
        self._grants += 1
        run = make_run(**given.pop("run", {}))
        return m.Grant(self._grants, hb, job, n, priority, run, **given)

    def master_sends(self, *messages: m.MasterMessage, ack: int = 0) -> None:
        frame = codec.decode_master_frame(codec.encode(m.MasterFrame(ack, list(messages))))
        self.execute(self.core.on_master_frame(frame, at(self.now)))

    def send_all(self) -> list[m.AgentMessage]:
        """Return the messages of all frames that the agent may send now."""
        messages: list[m.AgentMessage] = []
        while frame := self.core.next_frame(at(self.now)):
            self.frames.append(codec.decode_agent_frame(codec.encode(frame)))
            messages += self.frames[-1].messages
        return messages

    def master_acknowledges(self) -> None:
        self.master_sends(ack=self.frames[-1].no)

    # The reaper.

    def reaper_connects(
        self, reaper: str, *attempts: Json, starting: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.execute(self.core.on_reaper_hello(reaper, _json(attempts), starting, at(self.now)))

    def reaper_sends(self, *messages: Json, reaper: str = "r1") -> None:
        self.execute(self.core.on_reaper_messages(reaper, _json(messages), at(self.now)))

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

    def run_to_end(self, job: int, n: int = 1, *, output: Sequence[Any] = ()) -> None:
        """Report the start and the durable end of an attempt."""
        self.reaper_sends(self.started(job, n), self.ended(job, n, output=output), self.synced())

    def reaper_dies(
        self, *ended: Json, lost: Sequence[LostAttempt] = (), reaper: str = "r1"
    ) -> None:
        self.execute(self.core.on_reaper_death(reaper, _json(ended), lost, at(self.now)))

    # Actions of the core.

    def execute(self, actions: Sequence[Action]) -> None:
        self.actions = list(actions)
        for action in actions:
            match action:
                case turn.SendToReaper():
                    to = {"to": action.reaper}
                    self.reaper_messages += _json([{**each, **to} for each in action.messages])
                case turn.WriteJournal():
                    self.records += _json([action.record])
                    self._unsynced.append(action)
                case turn.ForwardTransfer():
                    self.transfers.append(action.message)
                case turn.CheckInputs():
                    self.input_checks.append(action)
                case turn.DeleteOutput():
                    self.deleted_outputs.append(action.key)
                case turn.RemoveReaper():
                    self.removed_reapers.append(action.reaper)
                case turn.ReadNewOutput():
                    self.output_reads.append(action.attempt.key)
        if not self.slow_disk:
            self.sync_journal()
        if self.answers_recalls and self.take_sent("recall"):
            attempts = self.core.table.attempts.items()
            keys = [key for key, each in attempts if each.phase is Phase.NEXT]
            self.reaper_sends({"type": "recalled", "attempts": keys})

    def sync_journal(self) -> None:
        """Report all records as written and durable."""
        while self._unsynced:
            token = self._unsynced.pop(0).token
            self.execute(self.core.on_journal_written(token, at(self.now)))
            self.core.on_journal_synced(token)

    def take_sent(self, kind: str) -> list[Json]:
        """Remove and return the messages of this type to the reapers."""
        found = [each for each in self.reaper_messages if each["type"] == kind]
        self.reaper_messages = [each for each in self.reaper_messages if each["type"] != kind]
        return found

    def take_starts(self) -> list[int]:
        """Remove and return the jobs that start now, in contrast to those that follow them."""
        starts = self.take_sent("start")
        self.reaper_messages += [each for each in starts if "start_by_ms" in each]
        return [int(str(each["job"])) for each in starts if "start_by_ms" not in each]

    def take_next_starts(self) -> list[int]:
        """Remove and return the jobs whose starts were sent ahead."""
        found = [each for each in self.reaper_messages if "start_by_ms" in each]
        self.reaper_messages = [each for each in self.reaper_messages if each not in found]
        return [int(str(each["job"])) for each in found]

    def heartbeat_states(self) -> list[tuple[int, int, str]]:
        """Return the attempts in a heartbeat sent now."""
        self.execute(self.core.on_heartbeat_due(at(self.now)))
        if self.frames:
            self.master_acknowledges()
        [heartbeat] = [each for each in self.send_all() if isinstance(each, m.Heartbeat)]
        return [(each.job, each.n, each.state) for each in heartbeat.held]


def _json(messages: Sequence[Any]) -> list[Any]:
    decoded: list[Any] = json.loads(json.dumps(messages))
    return decoded
