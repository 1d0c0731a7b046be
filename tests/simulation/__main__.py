"""Runs seeds of the simulation and says how many broke a promise: see docs/simulation.md."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Final

from tests.simulation import mutants
from tests.simulation.cluster import Cluster, Report
from tests.simulation.draw import draw
from tests.simulation.plan import Plan, read, write
from tests.simulation.shrink import shrink
from tests.simulation.storeroom import Storeroom

_FOUND: Final = Path("simulation-found")
_AT_ONCE: Final = 10


@lru_cache(maxsize=1)
def storeroom() -> Storeroom:
    return Storeroom()


def plan_of(seed: int, large: bool) -> Plan:
    return draw(seed, machines=10, jobs=50, hours=2.0) if large else draw(seed)


def run(plan: Plan, mutant: str = "", *, trace: bool = False) -> Report:
    with mutants.applied(mutant):
        return Cluster(plan, storeroom(), trace=trace).run()


def _collected(plan: Plan, mutant: str) -> Report:
    """A run is so short that one collection behind it is cheaper than many in it."""
    report = run(plan, mutant)
    gc.collect()
    return report


def some(seeds: range, large: bool = False, mutant: str = "") -> tuple[list[Report], float]:
    """And what they took of a core."""
    try:
        began_s = time.process_time()
        gc.freeze()
        gc.disable()
        reports = [_collected(plan_of(seed, large), mutant) for seed in seeds]
        return reports, time.process_time() - began_s
    finally:
        gc.enable()
        gc.unfreeze()
        storeroom().close()
        storeroom.cache_clear()


def _reports(args: argparse.Namespace) -> Iterator[tuple[list[Report], float]]:
    last = args.first + args.seeds
    with ProcessPoolExecutor(args.processes) as pool:
        ranges = [
            range(first, min(first + _AT_ONCE, last)) for first in range(args.first, last, _AT_ONCE)
        ]
        futures = [pool.submit(some, each, args.large, args.mutant) for each in ranges]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _keep(report: Report, args: argparse.Namespace) -> None:
    """Says what broke, and keeps the fewest faults with which it still breaks."""
    print(f"seed {report.seed}: {report.violations[0]}", flush=True)
    if args.no_shrink:
        return
    name = report.violations[0].partition(":")[0]

    def breaks(plan: Plan) -> bool:
        return any(each.startswith(f"{name}:") for each in run(plan, args.mutant).violations)

    small = shrink(plan_of(report.seed, args.large), breaks)
    _FOUND.mkdir(exist_ok=True)
    path = _FOUND / f"{args.mutant or name.lower()}.{report.seed}.json"
    path.write_text(write(small), encoding="utf-8")
    for fault in small.faults:
        print(f"    {fault.at_ms / 1000:10.3f} s  {fault.kind} of {fault.who or 'the master'}"
              f" for {fault.for_ms / 1000} s, {fault.value}")  # fmt: skip
    print(f"    kept in {path}; replay it with --plan {path}", flush=True)


def _seeds(args: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    done = bad = 0
    cpu_s = 0.0
    for reports, took_s in _reports(args):
        done += len(reports)
        cpu_s += took_s
        if done % 500 == 0:
            print(f"… {done} seeds, {bad} violations", flush=True)
        for report in reports:
            counts.update(report.counts)
            if report.violations:
                bad += 1
                _keep(report, args)
        if bad and args.mutant and not args.all:
            break
    print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    print(f"{cpu_s / max(done, 1):.3f} s of a core for each seed")
    print(f"{done} seeds, {bad} violations")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="replay this one, and tell what happens")
    parser.add_argument("--plan", type=Path, help="replay a kept list of faults")
    parser.add_argument("--mutant", default="", choices=["", *mutants.MUTANTS])
    parser.add_argument("--all", action="store_true", help="go on after a mutant is caught")
    parser.add_argument("--large", action="store_true", help="10 machines, 50 jobs, 2 hours")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-shrink", action="store_true")
    args = parser.parse_args()
    if args.seed is None and args.plan is None:
        return _seeds(args)
    plan = read(args.plan) if args.plan else plan_of(args.seed, args.large)
    report = run(plan, args.mutant, trace=True)
    storeroom().close()
    for each in report.violations:
        print(each)
    print(f"1 seeds, {int(bool(report.violations))} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    # The order of sets of words must be the same in every process.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    raise SystemExit(main())
