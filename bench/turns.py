"""What one turn costs: a core on a store of its own, a machine of 64 places, no process at all."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import support
from mythjobs.clock import master_now
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.protocol import messages as m
from mythjobs.store.open import Store, open_store
from mythjobs.store.writes import commands, jobs

PLACES: Final = 64
ROUNDS: Final = 60
WARM_UP: Final = 10
SLICE: Final = 5000
CONNECTION: Final = 1


@dataclass(frozen=True)
class Cost:
    """Of a turn that ends 64 attempts and leases 64: milliseconds, without and with its commit."""

    core_ms: float
    turn_ms: float


class Queue:
    """Jobs of many classes, one class after another in turn, so that age gives no class all."""

    def __init__(self, store: Store, classes: int) -> None:
        self._store = store
        self._next = 1
        with store.transaction() as tx:
            self._made = [
                commands.define(tx, name, {"name": name, "argv": ["/bin/true"]}, at_ms=0)
                for name in (f"c{number}" for number in range(classes))
            ]
            self._class_ids = [commands.ensure_class(tx, each, "bench") for each in self._made]

    def add(self, count: int) -> set[int]:
        """Queues so many more; answers their classes."""
        first, self._next = self._next, self._next + count
        rows = [self._row(job_id) for job_id in range(first, self._next)]
        with self._store.transaction() as tx:
            jobs.add(tx, rows)
            jobs.save_next_id(tx, self._next)
        return {each.class_id for each in rows}

    def _row(self, job_id: int) -> jobs.NewJob:
        place = job_id % len(self._made)
        class_id = self._class_ids[place]
        command_id = self._made[place].command_id
        return jobs.NewJob(job_id, class_id, command_id, "{}", 0, ready_class=class_id)


class Side:
    """A core on a queue of its own. What a round takes away is queued again."""

    def __init__(self, directory: Path, queued: int, classes: int) -> None:
        self.store = open_store(directory / f"turns-{queued}.db")
        self._waiting = Queue(self.store, classes)
        for done in range(0, queued, SLICE):
            support.note(f"turns: {done:,} of {queued:,} jobs queued in {classes} classes …")
            self._waiting.add(min(SLICE, queued - done))
        self.store.checkpoint()
        self._core = MasterCore(allow_local=True, local_jobs=PLACES)
        self.store.run_transaction(lambda tx: self._core.load(tx, master_now()))
        _turn(
            self.store, self._core, requests.Attach(_hello(), trusted=True, connection=CONNECTION)
        )
        self._hb = 0

    def round(self) -> tuple[float, float]:
        self._hb += 1
        [machine] = self._core.state.machines.values()
        ends: list[m.AgentMessage] = [
            _ended(key, each.n) for key, each in machine.live_attempts.items()
        ]
        if self._hb > 1 and len(ends) != PLACES:
            raise support.BenchError(f"a turn leased {len(ends)} jobs and not {PLACES}")
        frame = m.AgentFrame(self._hb, 10**9, PLACES, [*ends, m.Heartbeat(self._hb)])
        took = _turn(self.store, self._core, requests.FrameReceived(CONNECTION, frame))
        self._core.state.classes_to_recheck |= self._waiting.add(PLACES)
        return took


def measure(directory: Path, few: int, many: int, classes: int) -> tuple[Cost, Cost]:
    """With so few and with so many jobs queued all the time, in turn: a machine that is busy
    meanwhile is so for both."""
    sides: list[Side] = []
    try:
        for name, queued in (("few", few), ("many", many)):
            (directory / name).mkdir()
            sides.append(Side(directory / name, queued, classes))
        support.note(f"turns: {ROUNDS} turns of each …")
        took = [[side.round() for side in sides] for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    finally:
        for side in sides:
            side.store.close()
    costs = [
        Cost(*(statistics.median(each) for each in zip(*rounds, strict=True)))
        for rounds in zip(*took, strict=True)
    ]
    shutil.rmtree(directory / "few")
    shutil.rmtree(directory / "many")
    return costs[0], costs[1]


def _turn(
    store: Store, core: MasterCore, what: requests.Request | requests.Message
) -> tuple[float, float]:
    began = time.perf_counter()
    with store.transaction() as tx:
        result = core.run_turn(tx, [what], master_now())
        decided = time.perf_counter()
    committed = time.perf_counter()
    store.checkpoint()
    core.state = result.state
    return (decided - began) * 1000, (committed - began) * 1000


def _hello() -> m.Hello:
    return m.Hello(1, "key", "", "", "bench", "boot", "first", PLACES)


def _ended(job_id: int, n: int) -> m.AgentMessage:
    # So long that nothing is prefetched: every turn then leases the same.
    usage = {"wall_s": 3600.0, "user_s": 1.0, "system_s": 0.1}
    return m.Ended(job_id, n, {"kind": "exited", "code": 0}, 0, 1, usage)
