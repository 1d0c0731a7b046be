"""Model of the reaper: starts, stops and freezes programs, with a journal.

It implements docs/reaper.md without output, and with the grace period as its only limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mythjobs.process.reaper.journal import parse_journal
from tests.simulation.disk import AppendOnlyFile, SimDisk
from tests.simulation.program import Key, Program
from tests.simulation.safety_checker import ObservedMachine, SafetyChecker
from tests.simulation.simulator import ScheduledCall, Simulator

Json = dict[str, Any]
_RETRY_MS: Final = 1000
_SPAWN_MS: Final = 5


class SimReaperAttempt:
    """Attempt without an end. `stopped_by` is the source of its first stop, or ""."""

    def __init__(self, start: Json) -> None:
        self.key: Key = (start["job"], start["n"])
        self.argv: list[str] = start["argv"]
        self.grace_s: float = start["grace_s"]
        self.timed_actions: list[Any] = list(start["acts"])
        self.next_action: ScheduledCall | None = None
        self.freeze_holders: set[str] = set()
        self.program: Program | None = None
        self.started_ms: int | None = None
        self.stopped_by = ""
        self.kill_ms = 0


class SimReaper:
    def __init__(
        self, sim: Simulator, machine: ObservedMachine, checker: SafetyChecker, disk: SimDisk,
        name: str,
    ) -> None:  # fmt: skip
        self.name = name
        self.is_alive = True
        self.boot_id = machine.boot_id
        self.live: dict[Key, SimReaperAttempt] = {}
        self.ends: dict[Key, Json] = {}
        self._sim = sim
        self._machine = machine
        self._checker = checker
        self.journal = AppendOnlyFile(disk, _line({"reaper": {"boot_id": machine.boot_id}}))
        self._unwritten: list[bytes] = []
        self._seq = self._synced_seq = 0
        # None while no agent is connected.
        self.send_to_agent: Callable[[list[Json]], None] | None = None

    # Messages of the agent.

    def accept_agent(self, send: Callable[[list[Json]], None]) -> None:
        self.send_to_agent = send
        running = [each for each in self.live.values() if each.program]
        attempts = [*map(self._started, running), *self.ends.values()]
        hello = {"type": "hello", "attempts": attempts}
        frozen = [self._frozen(each) for each in running if each.freeze_holders]
        self._send(hello, *frozen, {"type": "synced", "seq": self._synced_seq})

    def on_messages(self, messages: list[Json]) -> None:
        if not self.is_alive:
            return
        starting = []
        for each in messages:
            kind = each["type"]
            if kind == "ack":
                acked = [tuple(key) for key in each["ends"] if tuple(key) in self.ends]
                for key in acked:
                    del self.ends[key]
                if acked:
                    self._append({"ack": acked})
                continue
            key = (each["job"], each["n"])
            attempt = self.live.get(key)
            if kind == "start":
                if attempt is None and key not in self.ends:
                    self.live[key] = attempt = SimReaperAttempt(each)
                    self._append({"start": key})
                    self._schedule_next_action(attempt)
                    starting.append(attempt)
            elif attempt is None:
                continue
            elif kind == "stop":
                self._stop(attempt, each["by"], None)
            elif kind == "acts":
                attempt.timed_actions = sorted(each["acts"])
                self._schedule_next_action(attempt)
            elif kind == "freeze":
                self._set_freeze(attempt, each["holder"], each["on"])
        if self._write():
            for attempt in starting:
                delay_ms = self._sim.random.randrange(_SPAWN_MS)
                self._sim.call_later(delay_ms, self._spawn, attempt)
        else:
            for attempt in starting:
                self._end(attempt, {"kind": "not_started", "errno": 28, "sentence": "disk full"})

    # Attempts.

    def _spawn(self, attempt: SimReaperAttempt) -> None:
        if not self.is_alive or attempt.key not in self.live:
            return
        if attempt.stopped_by:
            self._end(attempt, {"kind": "stopped", "by": attempt.stopped_by})
            return
        self._trace(f"{attempt.key} starts: {' '.join(attempt.argv)}")
        attempt.started_ms = self._machine.clock.wall_ms()
        attempt.program = Program(self._sim, attempt.key, attempt.argv, self._on_exit)
        if attempt.freeze_holders:
            attempt.program.freeze(True)
        self._append({"pid": [*attempt.key, 7, 0, 0, attempt.started_ms]})
        self._write()
        self._send(self._started(attempt))
        if attempt.freeze_holders:
            self._send(self._frozen(attempt))
        self._checker.on_start(self._machine, attempt.program)

    def _on_exit(self, program: Program) -> None:
        self._trace(f"{program.key} exited: {program.outcome}")
        self._checker.on_exit(program, program.outcome)
        attempt = self.live.get(program.key)
        if not self.is_alive or attempt is None:
            return
        if attempt.stopped_by:
            self._end(attempt, {"kind": "stopped", "by": attempt.stopped_by})
        else:
            self._end(attempt, {"kind": "exited", "code": program.code})

    def _end(self, attempt: SimReaperAttempt, outcome: Json) -> None:
        if attempt.next_action:
            attempt.next_action.cancel()
        del self.live[attempt.key]
        self._seq += 1
        job, n = attempt.key
        wall_ms = self._machine.clock.wall_ms()
        program = attempt.program
        usage = {"wall_s": 0.0} if program is None else program.usage()
        end = {
            "type": "ended", "seq": self._seq, "job": job, "n": n, "outcome": outcome,
            "usage": usage, "started_ms": attempt.started_ms, "ended_ms": wall_ms,
            "output": [],
        }  # fmt: skip
        self.ends[attempt.key] = end
        self._append({"end": end})
        self._write()
        self._send(end)

    def _stop(self, attempt: SimReaperAttempt, by: str, grace_s: float | None) -> None:
        now_ms = self._sim.now_ms
        if attempt.stopped_by:
            if grace_s is not None and attempt.program:
                kill_ms = now_ms + self._machine.clock.to_simulated_ms(round(1000 * grace_s))
                if kill_ms < attempt.kill_ms:
                    attempt.kill_ms = kill_ms
                    self._sim.call_at(kill_ms, attempt.program.kill)
            return
        attempt.stopped_by = by
        grace_ms = round(1000 * (attempt.grace_s if grace_s is None else grace_s))
        attempt.kill_ms = now_ms + self._machine.clock.to_simulated_ms(grace_ms)
        if attempt.program:
            attempt.program.freeze(False)
            attempt.program.terminate()
            self._sim.call_at(attempt.kill_ms, attempt.program.kill)

    def _set_freeze(self, attempt: SimReaperAttempt, holder: str, on: bool) -> None:
        before = set(attempt.freeze_holders)
        (attempt.freeze_holders.add if on else attempt.freeze_holders.discard)(holder)
        if attempt.program and attempt.freeze_holders != before:
            self._trace(f"{attempt.key} frozen by {sorted(attempt.freeze_holders)}")
            if not attempt.stopped_by:
                attempt.program.freeze(bool(attempt.freeze_holders))
            self._send(self._frozen(attempt))

    def _schedule_next_action(self, attempt: SimReaperAttempt) -> None:
        if attempt.next_action:
            attempt.next_action.cancel()
        attempt.next_action = None
        if attempt.timed_actions:
            at_ms = self._machine.clock.time_of_steady(attempt.timed_actions[0][0])
            attempt.next_action = self._sim.call_at(at_ms, self._execute_action, attempt)

    def _execute_action(self, attempt: SimReaperAttempt) -> None:
        _, action, by, grace_s = attempt.timed_actions.pop(0)
        if not self.is_alive or attempt.key not in self.live:
            return
        self._schedule_next_action(attempt)
        self._trace(f"{attempt.key}: timed action {action} by {by}")
        if action == "stop":
            self._stop(attempt, by, grace_s)
        else:
            self._set_freeze(attempt, by, action == "freeze")

    # Messages to the agent, and the journal.

    def _trace(self, text: str) -> None:
        self._sim.trace(self._machine.name, text)

    def _send(self, *messages: Json) -> None:
        if self.send_to_agent is not None:
            self.send_to_agent(list(messages))

    def _started(self, attempt: SimReaperAttempt) -> Json:
        job, n = attempt.key
        return {"type": "started", "job": job, "n": n, "pid": 7, "at_ms": attempt.started_ms}

    def _frozen(self, attempt: SimReaperAttempt) -> Json:
        job, n = attempt.key
        return {"type": "frozen", "job": job, "n": n, "holders": sorted(attempt.freeze_holders)}

    def _append(self, record: Json) -> None:
        self._unwritten.append(_line(record))

    def _write(self) -> bool:
        """Write pending records, and report ends as synced when they are durable.

        Return whether everything is written; otherwise the write is retried.
        """
        try:
            while self._unwritten:
                self.journal.append(self._unwritten[0])
                del self._unwritten[0]
        except OSError:
            self._sim.call_later(_RETRY_MS, self._retry_write)
            return False
        if self._seq > self._synced_seq:
            self.journal.sync(partial(self._on_synced, self._seq))
        return True

    def _retry_write(self) -> None:
        if self.is_alive and self._unwritten:
            self._write()

    def _on_synced(self, seq: int) -> None:
        if self.is_alive and seq > self._synced_seq:
            self._synced_seq = seq
            self._send({"type": "synced", "seq": seq})

    # Death of the reaper.

    def kill(self) -> None:
        """Kill the reaper. Its programs keep running without supervision."""
        self.is_alive = False
        self.send_to_agent = None
        for attempt in self.live.values():
            if attempt.program:
                attempt.program.orphaned_ms = self._sim.now_ms

    def settle(self) -> tuple[list[Any], dict[Key, int | None]]:
        """Kill the programs of a dead reaper, then return what its journal says.

        The result is the ends, and the start times of attempts without an end.
        """
        for attempt in self.live.values():
            if attempt.program:
                attempt.program.kill()
        self.journal.sync_now()
        records = parse_journal(self.journal.lines)
        unfinished = {
            key: each.started_ms if each else None for key, each in records.unfinished.items()
        }
        return list(records.ended.values()), unfinished

    def find_unfinished(self) -> set[Key]:
        return set(parse_journal(self.journal.lines).unfinished)


def _line(record: Json) -> bytes:
    return json.dumps(record).encode() + b"\n"
