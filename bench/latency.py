"""From the instant before a submit to the start of its process, while nothing else is to do."""

from __future__ import annotations

import argparse
import random
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
    fsync_p50_ms: float
    fsync_in_a_row_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.workplace() as place:
        stamp = support.compiled("stamp.c", place)
        disk, in_a_row = figures.Disk(place), figures.Disk(place)
        in_a_row.probe()
        with support.mythjobs_up(place, jobs=2) as system:
            define_stamp(system.api, stamp, place / "stamps")
            submitted = submit_one_by_one(system.api, disk, arguments.jobs)
        in_a_row.probe()
        started = figures.starts_ns(place / "stamps")
    took_ms = [(started[label] - at_ns) / 1e6 for label, at_ns in submitted.items()]
    return {
        "p50_ms": figures.percentile(took_ms, 50),
        "p99_ms": figures.percentile(took_ms, 99),
        "bar_ms": 2 + 3 * disk.p50_ms,
        "fsync_p50_ms": disk.p50_ms,
        "fsync_in_a_row_p50_ms": in_a_row.p50_ms,
    }


def define_stamp(api: support.Api, stamp: Path, stamps: Path) -> None:
    """The command `stamp` writes its start, and the label it was given, into this file."""
    definition = {
        "name": "stamp",
        "argv": [str(stamp), str(stamps), "{label}"],
        "parameters": [{"name": "label", "type": "text"}],
        "contain": False,
    }
    api.post("commands", {"definition": definition, "replace": False})


def submit_one_by_one(api: support.Api, disk: figures.Disk, jobs: int) -> dict[str, int]:
    """For each label the instant right before its submit, on CLOCK_MONOTONIC.

    The disk is asked in between, after the same pause: an fsync of a disk that was idle takes
    longer than one of many in a row (0.4 beside 0.15 ms here), and that is what a submit meets.
    """
    submitted = {}
    for number in range(-WARM_UP, jobs):
        if number % 20 == 0:
            support.note(f"latency: {max(number, 0)} of {jobs} …")
        # At no fixed beat, so that no timer of the system can run in step with it.
        time.sleep(random.uniform(*PAUSE_S))
        disk.probe(1)
        time.sleep(random.uniform(*PAUSE_S))
        at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        job = api.submit("stamp", label=f"n{number}")
        if number >= 0:
            submitted[f"n{number}"] = at_ns
        api.wait_job(job)
    return submitted


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    fsync_ms, bar_ms = result["fsync_p50_ms"], result["bar_ms"]
    baseline = f"fsync {fsync_ms:.2f} ms"
    lines = [
        figures.Row(
            "p50",
            f"{result['p50_ms']:.2f} ms",
            baseline,
            f"{result['p50_ms'] / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            result["p50_ms"] <= bar_ms,
        ),
        figures.Row(
            "p99", f"{result['p99_ms']:.2f} ms", baseline, f"{result['p99_ms'] / fsync_ms:.1f}"
        ),
    ]
    return "latency: submit to the process's start, idle", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="latency", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    figures.run(parser, measure, rows)
