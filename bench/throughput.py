"""Benchmark of jobs of /bin/true per second, compared with raw C."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import figures
import processes
import support

BATCH = 100
WARM_UP = 500
SETTLE_S = 1.0
BAR = {8: 0.35}
STORE_BAR = 0.6


class Figures(TypedDict):
    in_flight: int
    jobs_per_s: float
    raw_c_per_s: float
    ratio: float
    contained_ratio: float | None
    contained_reason: str | None
    store_jobs_per_s: float | None
    store_ratio: float | None
    fsync_p50_ms: float
    cpu_us_per_job: dict[str, float]


def measure(arguments: argparse.Namespace) -> list[Figures]:
    with support.temporary_directory() as directory:
        raw = support.compile_c("raw_spawn.c", directory)
        found = []
        for in_flight in arguments.in_flight:
            plain = measure_at(in_flight, arguments.jobs, arguments.rounds, raw, directory)
            if arguments.store is not None:
                with support.new_database(arguments.store) as url:
                    other = measure_at(
                        in_flight, arguments.jobs, arguments.rounds, raw, directory, store=url
                    )
                plain["store_jobs_per_s"] = other["jobs_per_s"]
                # Each relative to its own C runs: the speed of a machine varies over time.
                plain["store_ratio"] = other["ratio"] / plain["ratio"]
            found.append(plain)
        return found


def measure_at(
    in_flight: int, jobs: int, rounds: int, raw: Path, directory: Path, store: str | None = None
) -> Figures:
    disk = figures.DiskProbe(directory)
    with support.mythjobs_up(directory, in_flight, store) as system:
        api = system.api
        api.post("commands", {"definition": support.TRUE, "replace": False})
        commands, reason = ["true"], None
        try:
            contained = support.TRUE | {"name": "true-contained", "contain": True}
            api.post("commands", {"definition": contained, "replace": False})
            commands.append("true-contained")
        except support.RequestRejected as refused:
            reason = str(refused)
        for command in commands:  # prefetch starts once the run time of a command is known
            api.wait_batch(api.submit_batch(command, WARM_UP))
        rates: dict[str, list[float]] = {name: [] for name in ("raw", *commands)}
        cpu: dict[str, list[float]] = {}
        for number in range(1, rounds + 1):
            support.show_progress(
                f"throughput: {in_flight} in flight, round {number} of {rounds} …"
            )
            disk.measure()
            rates["raw"].append(measure_raw_rate(raw, jobs, in_flight))
            for command in commands:
                time.sleep(SETTLE_S)
                before = {name: processes.read_cpu_s(pid) for name, pid in system.pids().items()}
                rates[command].append(measure_rate(api, command, jobs))
                if command == "true":
                    for name, pid in system.pids().items():
                        used_us = (processes.read_cpu_s(pid) - before[name]) * 1e6
                        cpu.setdefault(name, []).append(used_us / jobs)
            time.sleep(SETTLE_S)
        disk.measure()
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "in_flight": in_flight,
        "jobs_per_s": median["true"],
        "raw_c_per_s": median["raw"],
        "ratio": median["true"] / median["raw"],
        "contained_ratio": None if reason else median["true-contained"] / median["raw"],
        "contained_reason": reason,
        "store_jobs_per_s": None,
        "store_ratio": None,
        "fsync_p50_ms": disk.p50_ms,
        "cpu_us_per_job": {name: statistics.median(values) for name, values in cpu.items()},
    }


def measure_rate(api: support.Api, command: str, jobs: int) -> float:
    before = api.counts()
    sizes = [min(BATCH, jobs - start) for start in range(0, jobs, BATCH)]
    start_s = time.monotonic()
    batches = [api.submit_batch(command, size) for size in sizes]
    # Earlier batches have usually end_s by now; if not, wait for them too.
    api.wait_batch(batches.pop())
    end_s = time.monotonic()
    for batch in reversed(batches):
        if not api.get(f"batches/{batch}")["over"]:
            api.wait_batch(batch)
            end_s = time.monotonic()
    after = api.counts()
    succeeded = after["succeeded"] - before["succeeded"]
    if succeeded != jobs:
        raise support.BenchError(f"of {jobs} jobs {succeeded} succeeded; counts now: {after}")
    return jobs / (end_s - start_s)


def measure_raw_rate(raw: Path, jobs: int, in_flight: int) -> float:
    done = subprocess.run(
        [raw, str(jobs), str(in_flight)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise support.BenchError(done.stderr.strip())
    return float(done.stdout)


def rows(results: list[Figures]) -> tuple[str, list[figures.Row]]:
    lines = []
    for each in results:
        bar = BAR.get(each["in_flight"])
        contained = each["contained_ratio"]
        lines += [
            figures.Row(
                f"{each['in_flight']} in flight",
                f"{each['jobs_per_s']:,.0f}/s",
                f"C {each['raw_c_per_s']:,.0f}/s",
                f"{each['ratio']:.2f}",
                f"≥ {bar:.2f}" if bar else "–",
                each["ratio"] >= bar if bar else None,
            ),
            figures.Row("  contained", "–", ratio="–" if contained is None else f"{contained:.2f}"),
            *_store_rows(each),
            figures.Row("  fsync p50", f"{each['fsync_p50_ms']:.2f} ms"),
        ]
        lines += [
            figures.Row(f"  CPU per job, {name}", f"{used:.0f} µs")
            for name, used in each["cpu_us_per_job"].items()
        ]
    reasons = {each["contained_reason"] for each in results} - {None}
    title = "throughput: /bin/true, first submit to last durable end"
    return title + "".join(f"\n  contained: {reason}" for reason in reasons), lines


def _store_rows(each: Figures) -> list[figures.Row]:
    jobs_per_s, ratio = each["store_jobs_per_s"], each["store_ratio"]
    if jobs_per_s is None or ratio is None:
        return []
    return [
        figures.Row(
            "  on PostgreSQL",
            f"{jobs_per_s:,.0f}/s",
            f"SQLite {each['jobs_per_s']:,.0f}/s",
            f"{ratio:.2f}",
            f"≥ {STORE_BAR:.2f}",
            ratio >= STORE_BAR,
        )
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="throughput", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000, help="jobs a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--store", metavar="URL", help="a PostgreSQL server to compare with")
    figures.run_benchmark(parser, measure, rows)
