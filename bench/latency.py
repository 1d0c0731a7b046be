"""Benchmark of the time from submit to the start of the job's process on an idle system."""

from __future__ import annotations

import argparse
import random
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import figures
import support

WARM_UP = 10
PAUSE_S = (0.05, 0.1)
RATIO_BAR = 2.0


class Figures(TypedDict):
    p50_ms: float
    p99_ms: float
    bar_ms: float  # RATIO_BAR times the baseline
    raw_c_p50_ms: float
    ratio: float
    fsync_p50_ms: float
    fsync_in_a_row_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.temporary_directory() as directory:
        stamps = directory / "stamps"
        stamp = support.compile_c("stamp.c", directory)
        raw_chain = support.compile_c("raw_chain.c", directory)
        disk, in_a_row = figures.DiskProbe(directory), figures.DiskProbe(directory)
        in_a_row.measure()
        with (
            support.mythjobs_up(directory, jobs=2) as system,
            RawChain(raw_chain, stamp, stamps) as chain,
        ):
            define_stamp_command(system.api, stamp, stamps)
            submitted_ns = measure_start_times(system.api, chain, disk, arguments.jobs)
        in_a_row.measure()
        started = figures.read_start_times(stamps)
    elapsed_ms = {label: (started[label] - at_ns) / 1e6 for label, at_ns in submitted_ns.items()}
    ours = [each for label, each in elapsed_ms.items() if label.startswith("n")]
    raw = [each for label, each in elapsed_ms.items() if label.startswith("c")]
    p50_ms, raw_c_p50_ms = figures.percentile(ours, 50), figures.percentile(raw, 50)
    return {
        "p50_ms": p50_ms,
        "p99_ms": figures.percentile(ours, 99),
        "bar_ms": RATIO_BAR * raw_c_p50_ms,
        "raw_c_p50_ms": raw_c_p50_ms,
        "ratio": p50_ms / raw_c_p50_ms,
        "fsync_p50_ms": disk.p50_ms,
        "fsync_in_a_row_p50_ms": in_a_row.p50_ms,
    }


class RawChain:
    """Process of raw_chain.c."""

    def __init__(self, program: Path, stamp: Path, stamps: Path) -> None:
        self._argv = [program, stamp, stamps, stamps.parent]

    def __enter__(self) -> RawChain:
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, label: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(label.encode().ljust(64, b"\0"))
        if not self._process.stdout.read(512):
            raise support.BenchError("raw_chain exited")


def define_stamp_command(api: support.Api, stamp: Path, stamps: Path) -> None:
    """Define the command `stamp`, which appends its label and start time to the file."""
    definition = {
        "name": "stamp",
        "argv": [str(stamp), str(stamps), "{label}"],
        "parameters": [{"name": "label", "type": "text"}],
        "contain": False,
    }
    api.post("commands", {"definition": definition, "replace": False})


def measure_start_times(
    api: support.Api, chain: RawChain, disk: figures.DiskProbe, jobs: int
) -> dict[str, int]:
    """Return the submit time of each label (CLOCK_MONOTONIC, ns): "n…" are jobs, "c…" raw_chain.

    fsync is measured in between, after the same pause: on an idle disk it takes longer than in a
    sequence (0.4 and 0.15 ms here), and a submit finds an idle disk.
    """
    submitted_ns: dict[str, int] = {}
    for number in range(-WARM_UP, jobs):
        if number % 20 == 0:
            support.show_progress(f"latency: {max(number, 0)} of {jobs} …")
        pause()
        disk.measure(1)
        pause()
        at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        job = api.submit("stamp", label=f"n{number}")
        api.wait_job(job)
        pause()
        raw_at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        chain.run(f"c{number}")
        if number >= 0:
            submitted_ns |= {f"n{number}": at_ns, f"c{number}": raw_at_ns}
    return submitted_ns


def pause() -> None:
    # Random, so that no timer of the system runs in step with the measurements.
    time.sleep(random.uniform(*PAUSE_S))


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    baseline = f"C {result['raw_c_p50_ms']:.2f} ms"
    lines = [
        figures.Row(
            "p50",
            f"{result['p50_ms']:.2f} ms",
            baseline,
            f"{result['ratio']:.2f}",
            f"≤ {RATIO_BAR:.1f}",
            result["ratio"] <= RATIO_BAR,
        ),
        figures.Row("p99", f"{result['p99_ms']:.2f} ms"),
        figures.Row("fsync", f"{result['fsync_p50_ms']:.2f} ms"),
    ]
    return "latency: submit to process start, idle system", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="latency", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    figures.run_benchmark(parser, measure, rows)
