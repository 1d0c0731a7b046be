"""Longest turns: the time of each kind of turn about many jobs, with a large backlog."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypedDict

import figures
import support
import turns
from mythjobs.clock import Now, master_now
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.turn_context import MAX_RESOLVED
from mythjobs.master.upkeep import SLICE_JOBS as UPKEEP_JOBS
from mythjobs.protocol.requests import Dependency, Submit
from mythjobs.store.open import open_store
from mythjobs.store.writes import commands
from mythjobs.store.writes.prune import SLICE_JOBS as PRUNE_JOBS
from mythjobs.web.routes.jobs import SLICE_JOBS as ACTION_JOBS

CLASSES: Final = 50
ROUNDS: Final = 5
BATCH_JOBS: Final = 500
BURST: Final = 256
DUE_JOBS: Final = 250
TURN_BAR_MS: Final = 50.0
HOUR_MS: Final = 3_600_000


class Turn(TypedDict):
    """cpu_ms: of the turn's thread, less affected by other load than the time."""

    kind: str
    longest_ms: float
    with_commit_ms: float
    cpu_ms: float


class Figures(TypedDict):
    jobs: int
    turns: list[Turn]
    fsync_p50_ms: float


class Bench:
    """A core with a backlog; each method of a kind runs turns and keeps the longest times."""

    def __init__(self, directory: Path, queued: int) -> None:
        self.store = open_store(directory / "long.db")
        self._feeder = turns.JobFeeder(self.store, CLASSES)
        for done in range(0, queued, turns.JOBS_PER_TRANSACTION):
            support.show_progress(f"long turns: {done:,} of {queued:,} jobs queued …")
            self._feeder.add(min(turns.JOBS_PER_TRANSACTION, queued - done))
        with self.store.transaction() as tx:
            self._command = commands.define(
                tx, "about", {"name": "about", "argv": ["/bin/true"]}, at_ms=0
            )
        self.store.checkpoint()
        self._core = MasterCore(allow_local=True, local_jobs=0)
        self.store.run_transaction(lambda tx: self._core.load(tx, master_now()))
        self._now = master_now()
        self.longest: dict[str, tuple[float, ...]] = {}

    def turn(self, kind: str, *items: requests.Request | requests.Message) -> dict[int, object]:
        start_s, cpu_s = time.perf_counter(), time.thread_time()
        with self.store.transaction() as tx:
            result = self._core.run_turn(tx, list(items), self._now)
            decided_s, cpu_s = time.perf_counter(), time.thread_time() - cpu_s
        committed_s = time.perf_counter()
        self.store.checkpoint()
        self._core.state = result.state
        if kind:
            times = (1000 * (decided_s - start_s), 1000 * (committed_s - start_s), 1000 * cpu_s)
            old = self.longest.get(kind, times)
            self.longest[kind] = tuple(map(max, old, times))
        return result.responses

    def finish_upkeep(self, kind: str) -> None:
        while self._core.state.has_upkeep:
            self.turn(kind)

    def advance(self, ms: int) -> None:
        self._now = Now(*(each + ms for each in self._now))

    @property
    def now_ms(self) -> int:
        return self._now.wall_ms

    def submit(self, count: int, kind: str = "", **fields: object) -> list[int]:
        ids = []
        for first in range(0, count, BURST):
            batch = [
                requests.SubmitJob(
                    Submit("about", subject=f"film {number}", **fields),  # type: ignore[arg-type]
                    "bench",
                )
                for number in range(first, min(first + BURST, count))
            ]
            ids += [answer.id for answer in self.turn(kind, *batch).values()]  # type: ignore[attr-defined]
        return ids

    def insert_batch(self, count: int, *, last: bool) -> requests.BatchIds:
        ids = self.turn("", requests.BeginBatch("about", count))[0]
        assert isinstance(ids, requests.BatchIds)
        for offset in range(0, count, BATCH_JOBS):
            rows = [
                requests.BatchRow("{}", f"film {number}")
                for number in range(offset, offset + BATCH_JOBS)
            ]
            self.turn(
                f"insert {BATCH_JOBS} jobs of a batch",
                requests.BatchSlice(
                    ids, "about", self._command.revision_id, "bench", offset, rows, 0, False, "",
                    last and offset + BATCH_JOBS >= count,
                ),
            )  # fmt: skip
        return ids


def run_submits(bench: Bench) -> None:
    ids = bench.submit(4 * BURST, f"{BURST} submits about subjects")
    bench.turn("", requests.CancelJobs(ids, "bench"))


def run_batches(bench: Bench) -> None:
    bench.insert_batch(4 * BATCH_JOBS, last=True)
    bench.finish_upkeep(f"open {UPKEEP_JOBS} jobs about subjects")
    ids = bench.insert_batch(4 * BATCH_JOBS, last=False)
    bench.turn("begin to drop a batch", requests.DropBatch(ids))
    bench.finish_upkeep(f"delete {UPKEEP_JOBS} jobs of a failed batch")


def run_actions(bench: Bench) -> None:
    ids = bench.submit(ACTION_JOBS)
    for name, request in (
        ("hold", requests.HoldJobs(ids)),
        ("release", requests.ReleaseJobs(ids)),
        ("cancel", requests.CancelJobs(ids, "bench")),
        ("rerun", requests.RerunJobs(ids, "bench")),
    ):
        bench.turn(f"{name} {ACTION_JOBS} jobs about subjects", request)


def run_timers(bench: Bench) -> None:
    bench.submit(DUE_JOBS, not_before_ms=bench.now_ms + HOUR_MS)
    bench.advance(HOUR_MS)
    bench.turn(f"{DUE_JOBS} jobs become due")
    bench.submit(DUE_JOBS, deadline_ms=bench.now_ms + HOUR_MS)
    bench.advance(HOUR_MS)
    bench.turn(f"{DUE_JOBS} jobs miss their deadline")


def run_dependents(bench: Bench) -> None:
    for when in ("any", "ok"):
        [first] = bench.submit(1)
        bench.submit(4 * MAX_RESOLVED, after=[Dependency(first, when)])
        kind = f"{'free' if when == 'any' else 'cancel'} {MAX_RESOLVED} dependents"
        bench.turn(kind, requests.CancelJobs([first], "bench"))
        bench.finish_upkeep(kind)
    [first] = chain = bench.submit(1)
    while len(chain) < 2 * MAX_RESOLVED:
        chain += bench.submit(1, after=[Dependency(chain[-1], "ok")])
    kind = f"cancel a chain of {MAX_RESOLVED} dependents"
    bench.turn(kind, requests.CancelJobs([first], "bench"))
    bench.finish_upkeep(kind)


def run_prune(bench: Bench) -> None:
    ids = bench.submit(4 * PRUNE_JOBS)
    for first in range(0, len(ids), ACTION_JOBS):
        bench.turn("", requests.CancelJobs(ids[first : first + ACTION_JOBS], "bench"))
    for first in range(0, len(ids), PRUNE_JOBS):
        bench.turn(f"prune {PRUNE_JOBS} jobs", requests.DeleteJobs(ids[first : first + PRUNE_JOBS]))


KINDS: Final[tuple[Callable[[Bench], None], ...]] = (
    run_submits, run_batches, run_actions, run_timers, run_dependents, run_prune,
)  # fmt: skip


def _read(turns: dict[str, tuple[float, ...]]) -> Iterator[Turn]:
    for kind, (core_ms, turn_ms, cpu_ms) in turns.items():
        yield {
            "kind": kind,
            "longest_ms": core_ms,
            "with_commit_ms": turn_ms,
            "cpu_ms": cpu_ms,
        }


def measure(arguments: argparse.Namespace) -> Figures:
    with support.temporary_directory() as directory:
        disk = figures.DiskProbe(directory)
        disk.measure()
        bench = Bench(directory, arguments.jobs)
        try:
            for number in range(ROUNDS + 1):
                for run in KINDS:
                    support.show_progress(f"long turns: round {number}, {run.__name__} …")
                    run(bench)
                if number == 0:
                    bench.longest.clear()  # compiled statements and a cold cache
        finally:
            bench.store.close()
        disk.measure()
    return {
        "jobs": arguments.jobs,
        "turns": list(_read(bench.longest)),
        "fsync_p50_ms": disk.p50_ms,
    }


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    lines = [
        figures.Row(
            each["kind"],
            f"{each['longest_ms']:.1f} ms",
            f"CPU {each['cpu_ms']:.1f} ms, with commit {each['with_commit_ms']:.1f} ms",
            bar=f"≤ {TURN_BAR_MS:.0f} ms",
            is_met=each["longest_ms"] <= TURN_BAR_MS,
        )
        for each in result["turns"]
    ]
    return f"longest turns with {result['jobs']:,} queued jobs", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="long_turns", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    figures.run_benchmark(parser, measure, rows)
