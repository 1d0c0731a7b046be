"""What one turn costs: a core on a store of its own, a machine of 64 places, no process at all."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import support
from mythjobs.clock import master_now
from mythjobs.master import inbox
from mythjobs.master.core import Core
from mythjobs.protocol import messages as m
from mythjobs.store import commands, jobs
from mythjobs.store.open import Store, open_store

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
        with store.turn() as tx:
            self._made = [
                commands.define(tx, name, {"name": name, "argv": ["/bin/true"]}, at_ms=0)
                for name in (f"c{number}" for number in range(classes))
            ]
            self._class_ids = [commands.class_of(tx, each, "bench") for each in self._made]

    def add(self, count: int) -> set[int]:
        """Queues so many more; answers their classes."""
        first, self._next = self._next, self._next + count
        rows = [self._row(job_id) for job_id in range(first, self._next)]
        with self._store.turn() as tx:
            jobs.add(tx, rows)
            jobs.save_next_id(tx, self._next)
        return {each.class_id for each in rows}

    def _row(self, job_id: int) -> jobs.NewJob:
        place = job_id % len(self._made)
        class_id = self._class_ids[place]
        command_id = self._made[place].command_id
        return jobs.NewJob(job_id, class_id, command_id, "{}", 0, ready_class=class_id)


def measure(directory: Path, queued: int, classes: int) -> Cost:
    """With so many jobs queued all the time: what a turn takes away is queued again."""
    store = open_store(directory / f"turns-{queued}.db")
    try:
        waiting = Queue(store, classes)
        for done in range(0, queued, SLICE):
            support.note(f"turns: {done:,} of {queued:,} jobs queued in {classes} classes …")
            waiting.add(min(SLICE, queued - done))
        store.checkpoint()
        return _turns(store, waiting)
    finally:
        store.close()
        for each in directory.glob("turns-*"):
            each.unlink()


def _turns(store: Store, waiting: Queue) -> Cost:
    core = Core(allow_local=True, local_jobs=PLACES)
    store.transact(lambda tx: core.load(tx, master_now()))
    _turn(store, core, inbox.Attach(_hello(), trusted=True, connection=CONNECTION))
    cores: list[float] = []
    turns: list[float] = []
    for hb in range(1, ROUNDS + WARM_UP + 1):
        [machine] = core.memory.machines.values()
        ends: list[m.AgentMessage] = [_ended(key, each.n) for key, each in machine.live.items()]
        if hb > 1 and len(ends) != PLACES:
            raise support.BenchError(f"a turn leased {len(ends)} jobs and not {PLACES}")
        frame = m.AgentFrame(hb, 10**9, PLACES, [*ends, m.Heartbeat(hb)])
        core_ms, turn_ms = _turn(store, core, inbox.AgentSaid(CONNECTION, frame))
        core.memory.waking |= waiting.add(PLACES)
        if hb > WARM_UP:
            cores.append(core_ms)
            turns.append(turn_ms)
    return Cost(statistics.median(cores), statistics.median(turns))


def _turn(store: Store, core: Core, what: inbox.Request | inbox.Message) -> tuple[float, float]:
    began = time.perf_counter()
    with store.turn() as tx:
        result = core.turn(tx, [what], master_now())
        decided = time.perf_counter()
    committed = time.perf_counter()
    store.checkpoint()
    core.memory = result.memory
    return (decided - began) * 1000, (committed - began) * 1000


def _hello() -> m.Hello:
    return m.Hello(1, "key", "", "", "bench", "boot", "first", PLACES)


def _ended(job_id: int, n: int) -> m.AgentMessage:
    # So long that nothing is prefetched: every turn then leases the same.
    usage = {"wall_s": 3600.0, "user_s": 1.0, "system_s": 0.1}
    return m.Ended(job_id, n, {"kind": "exited", "code": 0}, 0, 1, usage)
