"""Benchmark of MythSystem: spawning, capturing output, usage and idle children."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

import figures
import support

IN_FLIGHT: Final = 8
BALLAST_MB: Final = 1024
TREES: Final = 100
SLEEPERS: Final = 1000
WORKER: Final = Path(__file__).parent / "process_worker.py"
TIMEOUT_S: Final = 600


class Figures(TypedDict):
    raw_c_per_s: float
    thread_per_s: float
    process_per_s: float
    contained_per_s: float
    spawn_ratio_thread: float
    spawn_ratio_process: float
    spawn_ratio_contained: float
    spawn_ratio_busy: float
    spawn_ratio_1gib_parent: float
    cat_mb_per_s: float
    capture_mb_per_s: float
    bounded_mb_per_s: float
    capture_ratio: float
    capture_growth_mb: float
    usage_100_ms: float
    idle_cpu_s_per_min: float
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.temporary_directory() as directory:
        raw = support.compile_c("raw_process.c", directory)
        disk = figures.DiskProbe(directory)
        disk.measure()
        rates = measure_spawn_rates(raw, directory, arguments.jobs, arguments.rounds)
        sizes = measure_captures(directory, arguments.megabytes, arguments.rounds)
        support.show_progress("process: usage of 100 trees …")
        usage_ms = float(run_worker(directory, "usage", TREES))
        support.show_progress("process: 1,000 idle children …")
        idle_s = float(run_worker(directory, "idle", SLEEPERS, arguments.idle_s))
        disk.measure()
    median = {name: statistics.median(values) for name, values in (rates | sizes).items()}
    return {
        "raw_c_per_s": median["raw"],
        "thread_per_s": median["thread"],
        "process_per_s": median["process"],
        "contained_per_s": median["contained"],
        "spawn_ratio_thread": median["thread"] / median["raw"],
        "spawn_ratio_process": median["process"] / median["raw"],
        "spawn_ratio_contained": median["contained"] / median["raw"],
        "spawn_ratio_busy": median["busy"] / median["raw"],
        "spawn_ratio_1gib_parent": median["ballast"] / median["thread"],
        "cat_mb_per_s": median["cat"],
        "capture_mb_per_s": median["all"],
        "bounded_mb_per_s": median["bounded"],
        "capture_ratio": median["all"] / median["cat"],
        "capture_growth_mb": max(sizes["growth"]),
        "usage_100_ms": usage_ms,
        "idle_cpu_s_per_min": idle_s,
        "fsync_p50_ms": disk.p50_ms,
    }


def measure_spawn_rates(
    raw: Path, directory: Path, jobs: int, rounds: int
) -> dict[str, list[float]]:
    """Return children per second for each way to start them; the ways alternate."""
    names = ("raw", "thread", "process", "ballast", "contained", "busy")
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        support.show_progress(f"process: spawning, round {number} of {rounds} …")
        rates["raw"].append(float(run_program([raw, jobs, IN_FLIGHT], directory)))
        rates["thread"].append(run_worker(directory, "thread", jobs, IN_FLIGHT, 0))
        home = directory / f"round-{number}"
        rates["process"].append(run_worker(directory, "process", jobs, IN_FLIGHT, home))
        rates["ballast"].append(run_worker(directory, "thread", jobs, IN_FLIGHT, BALLAST_MB))
        rates["contained"].append(run_worker(directory, "contained", jobs, IN_FLIGHT, 0))
        with busy_cores():
            rates["busy"].append(run_worker(directory, "thread", jobs, IN_FLIGHT, 0))
    return rates


def measure_captures(directory: Path, megabytes: int, rounds: int) -> dict[str, list[float]]:
    """Return MB per second of captured output, by cat into a file and by MythSystem."""
    sizes: dict[str, list[float]] = {name: [] for name in ("cat", "all", "bounded", "growth")}
    for number in range(1, rounds + 1):
        support.show_progress(f"process: capturing, round {number} of {rounds} …")
        sizes["cat"].append(measure_cat(directory / "copy", megabytes))
        everything = run_worker(directory, "capture", megabytes, "all")
        bounded = run_worker(directory, "capture", megabytes, "bounded")
        sizes["all"].append(everything["mb_per_s"])
        sizes["bounded"].append(bounded["mb_per_s"])
        sizes["growth"].append(max(everything["growth_mb"], bounded["growth_mb"]))
    return sizes


def measure_cat(path: Path, megabytes: int) -> float:
    start_s = time.monotonic()
    text = 'head -c "$1"M /dev/zero | cat >"$2"'
    subprocess.run(["/bin/sh", "-c", text, "sh", str(megabytes), path], check=True)
    elapsed_s = time.monotonic() - start_s
    path.unlink()
    return megabytes * 2**20 / 1e6 / elapsed_s


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep all cores busy with other processes."""
    running = [
        subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], start_new_session=True)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def run_worker(directory: Path, kind: str, *numbers: object) -> Any:
    """Run process_worker.py and return its result."""
    return json.loads(run_program([sys.executable, WORKER, kind, *numbers], directory))


def run_program(command: list[object], directory: Path) -> str:
    # Output that is captured goes to the disk that cat writes to as well.
    env = support.build_environment() | {"TMPDIR": str(directory)}
    try:
        done = subprocess.run(
            [str(each) for each in command],
            capture_output=True, text=True, check=False, env=env, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise support.BenchError(f"{command[0]} took over {TIMEOUT_S} s") from None
    if done.returncode:
        raise support.BenchError(done.stderr.strip() or f"{command[0]} failed")
    return done.stdout


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    raw, cat_rate = f"C {result['raw_c_per_s']:,.0f}/s", f"cat {result['cat_mb_per_s']:,.0f} MB/s"

    def spawn(figure: str, measured: float | None, ratio: float, bar: float | None) -> figures.Row:
        return figures.Row(
            figure,
            "–" if measured is None else f"{measured:,.0f}/s",
            raw,
            f"{ratio:.2f}",
            "–" if bar is None else f"≥ {bar:.2f}",
            None if bar is None else ratio >= bar,
        )

    beside = result["spawn_ratio_1gib_parent"]
    growth, usage = result["capture_growth_mb"], result["usage_100_ms"]
    idle, capture = result["idle_cpu_s_per_min"], result["capture_ratio"]
    return f"process: /bin/true, {IN_FLIGHT} in flight, two pipes each", [
        spawn("thread mode", result["thread_per_s"], result["spawn_ratio_thread"], 0.80),
        spawn("process mode", result["process_per_s"], result["spawn_ratio_process"], 0.70),
        spawn("  contained", result["contained_per_s"], result["spawn_ratio_contained"], None),
        spawn("  all cores busy", None, result["spawn_ratio_busy"], 0.50),
        figures.Row(
            "  1 GiB parent", "–", "small parent", f"{beside:.2f}", "≥ 0.90", beside >= 0.90
        ),
        figures.Row(
            "output, all of it", f"{result['capture_mb_per_s']:,.0f} MB/s", cat_rate,
            f"{capture:.2f}", "≥ 0.80", capture >= 0.80,
        ),
        figures.Row("  head and tail only", f"{result['bounded_mb_per_s']:,.0f} MB/s", cat_rate),
        figures.Row("  memory grown", f"{growth:.1f} MB", bar="≤ 16 MB", is_met=growth <= 16),
        figures.Row("usage of 100 trees", f"{usage:.1f} ms", bar="≤ 10 ms", is_met=usage <= 10),
        figures.Row(
            "1,000 idle children", f"{idle:.3f} CPU s/min", bar="≤ 0.02", is_met=idle <= 0.02
        ),
    ]  # fmt: skip


def main() -> None:
    if shutil.which("cat") is None or shutil.which("head") is None:
        sys.exit("process: cat and head are not in PATH; install coreutils")
    parser = argparse.ArgumentParser(prog="process", description=__doc__)
    parser.add_argument("--jobs", type=int, default=3000, help="children a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024, help="of output captured")
    parser.add_argument("--idle-s", type=float, default=20.0, help="time with idle children")
    figures.run_benchmark(parser, measure, rows)


if __name__ == "__main__":
    main()
