"""From the instant before a submit to the start of its process, while nothing else is to do."""

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


class Figures(TypedDict):
    p50_ms: float
    p99_ms: float
    bar_ms: float
    raw_c_p50_ms: float
    ratio: float
    fsync_p50_ms: float
    fsync_in_a_row_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.workplace() as place:
        stamps = place / "stamps"
        stamp = support.compiled("stamp.c", place)
        raw_chain = support.compiled("raw_chain.c", place)
        disk, in_a_row = figures.Disk(place), figures.Disk(place)
        in_a_row.probe()
        with support.mythjobs_up(place, jobs=2) as system, Chain(raw_chain, stamp, stamps) as chain:
            define_stamp(system.api, stamp, stamps)
            began_ns = one_by_one(system.api, chain, disk, arguments.jobs)
        in_a_row.probe()
        started = figures.starts_ns(stamps)
    took_ms = {label: (started[label] - at_ns) / 1e6 for label, at_ns in began_ns.items()}
    ours = [each for label, each in took_ms.items() if label.startswith("n")]
    raw = [each for label, each in took_ms.items() if label.startswith("c")]
    p50_ms, raw_c_p50_ms = figures.percentile(ours, 50), figures.percentile(raw, 50)
    return {
        "p50_ms": p50_ms,
        "p99_ms": figures.percentile(ours, 99),
        "bar_ms": 2 + 3 * disk.p50_ms,
        "raw_c_p50_ms": raw_c_p50_ms,
        "ratio": p50_ms / raw_c_p50_ms,
        "fsync_p50_ms": disk.p50_ms,
        "fsync_in_a_row_p50_ms": in_a_row.p50_ms,
    }


class Chain:
    """raw_chain.c, which waits for the next label."""

    def __init__(self, program: Path, stamp: Path, stamps: Path) -> None:
        self._words = [program, stamp, stamps, stamps.parent]

    def __enter__(self) -> Chain:
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, label: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(label.encode().ljust(64, b"\0"))
        if not self._process.stdout.read(512):
            raise support.BenchError("raw_chain ended")


def define_stamp(api: support.Api, stamp: Path, stamps: Path) -> None:
    """The command `stamp` writes its start, and the label it was given, into this file."""
    definition = {
        "name": "stamp",
        "argv": [str(stamp), str(stamps), "{label}"],
        "parameters": [{"name": "label", "type": "text"}],
        "contain": False,
    }
    api.post("commands", {"definition": definition, "replace": False})


def one_by_one(api: support.Api, chain: Chain, disk: figures.Disk, jobs: int) -> dict[str, int]:
    """For each label the instant right before its submit, on CLOCK_MONOTONIC: "n…" are jobs, "c…"
    went the same way in C.

    The disk is asked in between, after the same pause: an fsync of a disk that was idle takes
    longer than one of many in a row (0.4 beside 0.15 ms here), and that is what a submit meets.
    """
    began_ns: dict[str, int] = {}
    for number in range(-WARM_UP, jobs):
        if number % 20 == 0:
            support.note(f"latency: {max(number, 0)} of {jobs} …")
        _pause()
        disk.probe(1)
        _pause()
        at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        job = api.submit("stamp", label=f"n{number}")
        api.wait_job(job)
        _pause()
        raw_at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        chain.run(f"c{number}")
        if number >= 0:
            began_ns |= {f"n{number}": at_ns, f"c{number}": raw_at_ns}
    return began_ns


def _pause() -> None:
    # At no fixed beat, so that no timer of the system can run in step with it.
    time.sleep(random.uniform(*PAUSE_S))


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    bar_ms = result["bar_ms"]
    baseline = f"C {result['raw_c_p50_ms']:.2f} ms"
    lines = [
        figures.Row(
            "p50",
            f"{result['p50_ms']:.2f} ms",
            baseline,
            f"{result['ratio']:.2f}",
            f"≤ {bar_ms:.2f} ms",
            result["p50_ms"] <= bar_ms,
        ),
        figures.Row("p99", f"{result['p99_ms']:.2f} ms"),
        figures.Row("fsync", f"{result['fsync_p50_ms']:.2f} ms"),
    ]
    return "latency: submit to the process's start, idle", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="latency", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    figures.run(parser, measure, rows)
