"""How long `mythjobs status` takes, beside the same Python that does nothing."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import figures
import support

BAR = 6.0


class Figures(TypedDict):
    status_ms: float
    python_ms: float
    ratio: float
    bar: float
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    python = support.MYTHJOBS.with_name("python")
    took_ms: dict[str, list[float]] = {"status": [], "python": []}
    with support.workplace() as place:
        disk = figures.Disk(place)
        disk.probe()
        with support.mythjobs_up(place, jobs=2) as system:
            commands: dict[str, list[str | Path]] = {
                "python": [python, "-c", "pass"],
                "status": [support.MYTHJOBS, "--state-dir", system.state, "status"],
            }
            for command in commands.values():  # compiles the sources that have changed
                run_ms(command)
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    took_ms[name].append(run_ms(command))
        disk.probe()
    status_ms, python_ms = (statistics.median(took_ms[name]) for name in ("status", "python"))
    return {
        "status_ms": status_ms,
        "python_ms": python_ms,
        "ratio": status_ms / python_ms,
        "bar": BAR,
        "fsync_p50_ms": disk.p50_ms,
    }


def run_ms(command: list[str | Path]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, check=False, env=support.environment(), text=True
    )
    took_ms = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise support.BenchError(f"mythjobs status ended with {done.returncode}: {done.stderr}")
    return took_ms


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    line = figures.Row(
        "mythjobs status",
        f"{result['status_ms']:.0f} ms",
        f"python -c pass {result['python_ms']:.0f} ms",
        f"{result['ratio']:.2f}",
        f"≤ {BAR:.0f}",
        result["ratio"] <= BAR,
    )
    return "startup: the command line, from start to end", [line]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    figures.run(parser, measure, rows)
