"""Benchmark of `mythjobs status`, compared with an empty Python program."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import figures
import support

BAR = 4.0


class Figures(TypedDict):
    status_ms: float
    python_ms: float
    ratio: float
    bar: float
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    python = support.MYTHJOBS.with_name("python")
    durations_ms: dict[str, list[float]] = {"status": [], "python": []}
    with support.temporary_directory() as directory:
        disk = figures.DiskProbe(directory)
        disk.measure()
        with support.mythjobs_up(directory, jobs=2) as system:
            commands: dict[str, list[str | Path]] = {
                "python": [python, "-c", "pass"],
                "status": [support.MYTHJOBS, "--state-dir", system.state, "status"],
            }
            for command in commands.values():  # compiles changed sources
                measure_run_ms(command)
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    durations_ms[name].append(measure_run_ms(command))
        disk.measure()
    status_ms, python_ms = (statistics.median(durations_ms[name]) for name in ("status", "python"))
    return {
        "status_ms": status_ms,
        "python_ms": python_ms,
        "ratio": status_ms / python_ms,
        "bar": BAR,
        "fsync_p50_ms": disk.p50_ms,
    }


def measure_run_ms(command: list[str | Path]) -> float:
    start_s = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, check=False, env=support.build_environment(), text=True
    )
    durations_ms = (time.perf_counter() - start_s) * 1000
    if done.returncode:
        raise support.BenchError(f"mythjobs status exited with {done.returncode}: {done.stderr}")
    return durations_ms


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    line = figures.Row(
        "mythjobs status",
        f"{result['status_ms']:.0f} ms",
        f"python -c pass {result['python_ms']:.0f} ms",
        f"{result['ratio']:.2f}",
        f"≤ {BAR:.0f}",
        result["ratio"] <= BAR,
    )
    return "startup: run time of the command line", [line]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    figures.run_benchmark(parser, measure, rows)
