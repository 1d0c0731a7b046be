"""Cost of one turn of the master: a core with its own store, and a machine of 64 jobs."""

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

SLOTS: Final = 64
ROUNDS: Final = 60
WARM_UP: Final = 10
JOBS_PER_TRANSACTION: Final = 5000
CONNECTION: Final = 1


@dataclass(frozen=True)
class TurnCost:
    """Milliseconds of a turn that ends 64 attempts and leases 64, without and with commit."""

    core_ms: float
    turn_ms: float


class JobFeeder:
    """Adds jobs to a store, of all classes in turn: no class has all of the oldest jobs."""

    def __init__(self, store: Store, classes: int) -> None:
        self._store = store
        self._next = 1
        with store.transaction() as tx:
            self._commands = [
                commands.define(tx, name, {"name": name, "argv": ["/bin/true"]}, at_ms=0)
                for name in (f"c{number}" for number in range(classes))
            ]
            self._class_ids = [commands.ensure_class(tx, each, "bench") for each in self._commands]

    def add(self, count: int) -> set[int]:
        """Add jobs. Return their classes."""
        first, self._next = self._next, self._next + count
        rows = [self._row(job_id) for job_id in range(first, self._next)]
        with self._store.transaction() as tx:
            jobs.add(tx, rows)
            jobs.save_next_id(tx, self._next)
        return {each.class_id for each in rows}

    def _row(self, job_id: int) -> jobs.NewJob:
        place = job_id % len(self._commands)
        class_id = self._class_ids[place]
        command_id = self._commands[place].command_id
        return jobs.NewJob(job_id, class_id, command_id, "{}", 0, ready_class=class_id)


class CoreUnderTest:
    """A core with its own store. Each round adds as many jobs as it leases."""

    def __init__(self, directory: Path, queued: int, classes: int) -> None:
        self.store = open_store(directory / f"turns-{queued}.db")
        self._feeder = JobFeeder(self.store, classes)
        for done in range(0, queued, JOBS_PER_TRANSACTION):
            support.show_progress(
                f"turns: {done:,} of {queued:,} jobs queued in {classes} classes …"
            )
            self._feeder.add(min(JOBS_PER_TRANSACTION, queued - done))
        self.store.checkpoint()
        self._core = MasterCore(allow_local=True, local_jobs=SLOTS)
        self.store.run_transaction(lambda tx: self._core.load(tx, master_now()))
        _run_turn(
            self.store, self._core, requests.Attach(_hello(), trusted=True, connection=CONNECTION)
        )
        self._hb = 0

    def run_round(self) -> tuple[float, float]:
        self._hb += 1
        [machine] = self._core.state.machines.values()
        ends: list[m.AgentMessage] = [
            _ended(key, each.n) for key, each in machine.live_attempts.items()
        ]
        if self._hb > 1 and len(ends) != SLOTS:
            raise support.BenchError(f"a turn leased {len(ends)} jobs instead of {SLOTS}")
        frame = m.AgentFrame(self._hb, 10**9, SLOTS, [*ends, m.Heartbeat(self._hb)])
        durations_ms = _run_turn(self.store, self._core, requests.FrameReceived(CONNECTION, frame))
        self._core.state.classes_to_recheck |= self._feeder.add(SLOTS)
        return durations_ms


def measure(directory: Path, few: int, many: int, classes: int) -> tuple[TurnCost, TurnCost]:
    """Return the costs with few and with many queued jobs.

    Rounds alternate, so that other load on the host affects both.
    """
    cores: list[CoreUnderTest] = []
    try:
        for name, queued in (("few", few), ("many", many)):
            (directory / name).mkdir()
            cores.append(CoreUnderTest(directory / name, queued, classes))
        support.show_progress(f"turns: {ROUNDS} turns of each …")
        durations_ms = [[core.run_round() for core in cores] for _ in range(WARM_UP + ROUNDS)][
            WARM_UP:
        ]
    finally:
        for core in cores:
            core.store.close()
    costs = [
        TurnCost(*(statistics.median(each) for each in zip(*rounds, strict=True)))
        for rounds in zip(*durations_ms, strict=True)
    ]
    shutil.rmtree(directory / "few")
    shutil.rmtree(directory / "many")
    return costs[0], costs[1]


def _run_turn(
    store: Store, core: MasterCore, item: requests.Request | requests.Message
) -> tuple[float, float]:
    start_s = time.perf_counter()
    with store.transaction() as tx:
        result = core.run_turn(tx, [item], master_now())
        decided = time.perf_counter()
    committed = time.perf_counter()
    store.checkpoint()
    core.state = result.state
    return (decided - start_s) * 1000, (committed - start_s) * 1000


def _hello() -> m.Hello:
    return m.Hello(1, "key", "", "", "bench", "boot", "first", SLOTS)


def _ended(job_id: int, n: int) -> m.AgentMessage:
    # Jobs this long are not prefetched, so that every turn leases the same number.
    usage = {"wall_s": 3600.0, "user_s": 1.0, "system_s": 0.1}
    return m.Ended(job_id, n, {"kind": "exited", "code": 0}, 0, 1, usage)
