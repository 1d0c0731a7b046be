"""Command line of the simulation: runs seeds and counts those with violations.

See docs/simulation.md.
"""

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
from tests.simulation.cluster import Cluster, RunReport
from tests.simulation.plan import Plan, encode_plan, read_plan
from tests.simulation.plan_generator import generate_plan
from tests.simulation.scale import generate_scale_plan
from tests.simulation.shrink import shrink
from tests.simulation.store_factory import StoreFactory

_FOUND: Final = Path("simulation-found")
_SEEDS_PER_TASK: Final = 10


@lru_cache(maxsize=1)
def store_factory() -> StoreFactory:
    return StoreFactory()


def plan_of_seed(seed: int, size: str) -> Plan:
    if size == "scale":
        return generate_scale_plan(seed)
    if size == "large":
        return generate_plan(seed, machines=10, jobs=50, hours=2.0)
    return generate_plan(seed)


def run_plan(plan: Plan, mutant: str = "", *, trace: bool = False) -> RunReport:
    with mutants.applied(mutant):
        return Cluster(plan, store_factory(), trace=trace).run()


def run_seeds(seeds: range, size: str = "", mutant: str = "") -> tuple[list[RunReport], float]:
    """Return the reports, and the CPU time in seconds."""
    try:
        start_s = time.process_time()
        # One garbage collection after each short run costs less than many during it.
        gc.freeze()
        gc.disable()
        reports = []
        for seed in seeds:
            reports.append(run_plan(plan_of_seed(seed, size), mutant))
            gc.collect()
        return reports, time.process_time() - start_s
    finally:
        gc.enable()
        gc.unfreeze()
        store_factory().close()
        store_factory.cache_clear()


def _run_in_parallel(args: argparse.Namespace) -> Iterator[tuple[list[RunReport], float]]:
    end = args.first + args.seeds
    with ProcessPoolExecutor(args.processes) as pool:
        ranges = [
            range(first, min(first + _SEEDS_PER_TASK, end))
            for first in range(args.first, end, _SEEDS_PER_TASK)
        ]
        futures = [pool.submit(run_seeds, each, args.size, args.mutant) for each in ranges]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _report_violation(report: RunReport, args: argparse.Namespace) -> None:
    """Print the violation, and save the smallest plan that still shows it."""
    print(f"seed {report.seed}: {report.violations[0]}", flush=True)
    if args.no_shrink:
        return
    name = report.violations[0].partition(":")[0]

    def has_violation(plan: Plan) -> bool:
        return any(each.startswith(f"{name}:") for each in run_plan(plan, args.mutant).violations)

    small = shrink(plan_of_seed(report.seed, args.size), has_violation)
    _FOUND.mkdir(exist_ok=True)
    path = _FOUND / f"{args.mutant or name.lower()}.{report.seed}.json"
    path.write_text(encode_plan(small), encoding="utf-8")
    for fault in small.faults:
        target = f"machine {fault.target}" if fault.target else "the master"
        print(f"    {fault.at_ms / 1000:10.3f} s  {fault.kind} of {target}"
              f" for {fault.duration_ms / 1000} s, {fault.value}")  # fmt: skip
    print(f"    saved as {path}; replay it with --plan {path}", flush=True)


def _run_and_report(args: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    done = failed = 0
    cpu_s = 0.0
    for reports, batch_cpu_s in _run_in_parallel(args):
        done += len(reports)
        cpu_s += batch_cpu_s
        if done % 500 == 0:
            print(f"… {done} seeds, {failed} violations", flush=True)
        for report in reports:
            counts.update(report.counts)
            if report.violations:
                failed += 1
                _report_violation(report, args)
        if failed and args.mutant and not args.all:
            break
    print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    print(f"{cpu_s / max(done, 1):.3f} s of CPU time per seed")
    print(f"{done} seeds, {failed} violations")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--seed", type=int, help="replay this seed with a trace")
    parser.add_argument("--plan", type=Path, help="replay a plan file with a trace")
    parser.add_argument("--mutant", default="", choices=["", *mutants.MUTANTS])
    parser.add_argument("--all", action="store_true", help="continue after a mutant is detected")
    parser.add_argument(
        "--large", dest="size", action="store_const", const="large", default="",
        help="10 machines, 50 jobs, 2 hours",
    )  # fmt: skip
    parser.add_argument(
        "--scale", dest="size", action="store_const", const="scale",
        help="20 machines, 50 commands, 600 jobs, no faults of machines",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-shrink", action="store_true")
    args = parser.parse_args()
    if args.seed is None and args.plan is None:
        return _run_and_report(args)
    plan = read_plan(args.plan) if args.plan else plan_of_seed(args.seed, args.size)
    report = run_plan(plan, args.mutant, trace=True)
    store_factory().close()
    for each in report.violations:
        print(each)
    print(f"1 seeds, {int(bool(report.violations))} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    # Sets of strings must iterate in the same order in every process.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    raise SystemExit(main())
