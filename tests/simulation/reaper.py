"""A model of the reaper: starts, stops and freezes programs alone, and remembers in a journal.

It does what docs/reaper.md says and no more: there is no output, and no limit but the grace.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mythjobs.process.reaper.journal import parse_journal
from tests.simulation.disk import Disk, Log
from tests.simulation.program import Key, Program
from tests.simulation.witness import Seen, Witness
from tests.simulation.world import Event, World

Json = dict[str, Any]
_RETRY_MS: Final = 1000
_SPAWN_MS: Final = 5


class Held:
    """One attempt without an end. `why` is who had it stopped first, if anybody did."""

    def __init__(self, start: Json) -> None:
        self.key: Key = (start["job"], start["n"])
        self.argv: list[str] = start["argv"]
        self.grace_s: float = start["grace_s"]
        self.acts: list[Any] = list(start["acts"])
        self.next_act: Event | None = None
        self.holders: set[str] = set()
        self.program: Program | None = None
        self.started_ms: int | None = None
        self.why = ""
        self.kill_ms = 0


class Reaper:
    def __init__(self, world: World, machine: Seen, witness: Witness, disk: Disk, name: str):
        self.name = name
        self.alive = True
        self.boot_id = machine.boot_id
        self.live: dict[Key, Held] = {}
        self.ends: dict[Key, Json] = {}
        self._world = world
        self._machine = machine
        self._witness = witness
        self.journal = Log(disk, _line({"reaper": {"boot_id": machine.boot_id}}))
        self._unwritten: list[bytes] = []
        self._seq = self._synced = 0
        # Where the agent reads, while one is connected.
        self.tell: Callable[[list[Json]], None] | None = None

    # What the agent says.

    def connect(self, tell: Callable[[list[Json]], None]) -> None:
        self.tell = tell
        known = [each for each in self.live.values() if each.program]
        attempts = [*map(self._started, known), *self.ends.values()]
        hello = {"type": "hello", "attempts": attempts}
        frozen = [self._frozen(each) for each in known if each.holders]
        self._say(hello, *frozen, {"type": "synced", "seq": self._synced})

    def hear(self, messages: list[Json]) -> None:
        if not self.alive:
            return
        wanted = []
        for each in messages:
            kind = each["type"]
            if kind == "ack":
                gone = [tuple(key) for key in each["ends"] if tuple(key) in self.ends]
                for key in gone:
                    del self.ends[key]
                if gone:
                    self._append({"ack": gone})
                continue
            key = (each["job"], each["n"])
            held = self.live.get(key)
            if kind == "start":
                if held is None and key not in self.ends:
                    self.live[key] = held = Held(each)
                    self._append({"start": key})
                    self._arm(held)
                    wanted.append(held)
            elif held is None:
                continue
            elif kind == "stop":
                self._stop(held, each["by"], None)
            elif kind == "acts":
                held.acts = sorted(each["acts"])
                self._arm(held)
            elif kind == "freeze":
                self._hold(held, each["holder"], each["on"])
        if self._write():
            for held in wanted:
                self._world.after(self._world.random.randrange(_SPAWN_MS), self._spawn, held)
        else:
            for held in wanted:
                self._over(held, {"kind": "not_started", "errno": 28, "sentence": "disk full"})

    # What becomes of an attempt.

    def _spawn(self, held: Held) -> None:
        if not self.alive or held.key not in self.live:
            return
        if held.why:
            self._over(held, {"kind": "stopped", "by": held.why})
            return
        self._world.say(self._machine.name, f"{held.key} begins: {' '.join(held.argv)}")
        held.started_ms = self._machine.clock.wall()
        held.program = Program(self._world, held.key, held.argv, self._died)
        if held.holders:
            held.program.freeze(True)
        self._append({"pid": [*held.key, 7, 0, 0, held.started_ms]})
        self._write()
        self._say(self._started(held))
        if held.holders:
            self._say(self._frozen(held))
        self._witness.began(self._machine, held.program)

    def _died(self, program: Program) -> None:
        self._world.say(self._machine.name, f"{program.key} is dead: {program.outcome}")
        self._witness.finished(program, program.outcome)
        held = self.live.get(program.key)
        if not self.alive or held is None:
            return
        if held.why:
            self._over(held, {"kind": "stopped", "by": held.why})
        else:
            self._over(held, {"kind": "exited", "code": program.code})

    def _over(self, held: Held, outcome: Json) -> None:
        if held.next_act:
            held.next_act.cancel()
        del self.live[held.key]
        self._seq += 1
        job, n = held.key
        wall_ms = self._machine.clock.wall()
        end = {
            "type": "ended", "seq": self._seq, "job": job, "n": n, "outcome": outcome,
            "usage": {"wall_s": 1.0}, "started_ms": held.started_ms, "ended_ms": wall_ms,
            "output": [],
        }  # fmt: skip
        self.ends[held.key] = end
        self._append({"end": end})
        self._write()
        self._say(end)

    def _stop(self, held: Held, by: str, grace_s: float | None) -> None:
        now = self._world.now
        if held.why:
            if grace_s is not None and held.program:
                due_ms = now + self._machine.clock.true(round(1000 * grace_s))
                if due_ms < held.kill_ms:
                    held.kill_ms = due_ms
                    self._world.at(due_ms, held.program.kill)
            return
        held.why = by
        grace_ms = round(1000 * (held.grace_s if grace_s is None else grace_s))
        held.kill_ms = now + self._machine.clock.true(grace_ms)
        if held.program:
            held.program.freeze(False)
            held.program.term()
            self._world.at(held.kill_ms, held.program.kill)

    def _hold(self, held: Held, holder: str, on: bool) -> None:
        before = set(held.holders)
        (held.holders.add if on else held.holders.discard)(holder)
        if held.program and held.holders != before:
            self._world.say(self._machine.name, f"{held.key} held by {sorted(held.holders)}")
            if not held.why:
                held.program.freeze(bool(held.holders))
            self._say(self._frozen(held))

    def _arm(self, held: Held) -> None:
        if held.next_act:
            held.next_act.cancel()
        held.next_act = None
        if held.acts:
            at_ms = self._machine.clock.when(held.acts[0][0])
            held.next_act = self._world.at(at_ms, self._act, held)

    def _act(self, held: Held) -> None:
        _, act, by, grace_s = held.acts.pop(0)
        if not self.alive or held.key not in self.live:
            return
        self._arm(held)
        self._world.say(self._machine.name, f"{held.key}: the reaper acts: {act} by {by}")
        if act == "stop":
            self._stop(held, by, grace_s)
        else:
            self._hold(held, by, act == "freeze")

    # What is said and remembered.

    def _say(self, *messages: Json) -> None:
        if self.tell is not None:
            self.tell(list(messages))

    def _started(self, held: Held) -> Json:
        job, n = held.key
        return {"type": "started", "job": job, "n": n, "pid": 7, "at_ms": held.started_ms}

    def _frozen(self, held: Held) -> Json:
        job, n = held.key
        return {"type": "frozen", "job": job, "n": n, "holders": sorted(held.holders)}

    def _append(self, record: Json) -> None:
        self._unwritten.append(_line(record))

    def _write(self) -> bool:
        """What was ended is told as durable once it is."""
        try:
            while self._unwritten:
                self.journal.append(self._unwritten[0])
                del self._unwritten[0]
        except OSError:
            self._world.after(_RETRY_MS, self._retry)
            return False
        if self._seq > self._synced:
            self.journal.sync(partial(self._is_durable, self._seq))
        return True

    def _retry(self) -> None:
        if self.alive and self._unwritten:
            self._write()

    def _is_durable(self, seq: int) -> None:
        if self.alive and seq > self._synced:
            self._synced = seq
            self._say({"type": "synced", "seq": seq})

    def killed(self) -> None:
        """Its programs run on; nobody keeps them."""
        self.alive = False
        self.tell = None
        for held in self.live.values():
            if held.program:
                held.program.orphaned_ms = self._world.now

    def settle(self) -> tuple[list[Any], dict[Key, int | None]]:
        """What an agent reads in the journal when it is dead, having ended what was left: the
        ends, and what has none with the instant of its start."""
        for held in self.live.values():
            if held.program:
                held.program.kill()
        self.journal.make_durable()
        records = parse_journal(self.journal.lines)
        opened = {
            key: each.started_ms if each else None for key, each in records.unfinished.items()
        }
        return list(records.ended.values()), opened

    def starting(self) -> set[Key]:
        return set(parse_journal(self.journal.lines).unfinished)


def _line(record: Json) -> bytes:
    return json.dumps(record).encode() + b"\n"
