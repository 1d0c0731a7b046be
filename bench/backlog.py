"""A backlog taken in by one request: how fast, in what memory, how soon an urgent job starts."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import TypedDict

import figures
import latency
import processes
import support

IN_FLIGHT = 2
WARM_UP = 500
SETTLE_S = 2.0
URGENT = 50
URGENT_PRIORITY = 100
PAUSE_S = (0.05, 0.25)
GROWTH_BAR_MB = 20.0


class Figures(TypedDict):
    jobs: int
    accepted_per_s: float
    accept_s: float
    bar_accept_s: float
    master_rss_mb: float
    master_growth_mb: float
    top_priority_start_ms: float
    top_priority_start_p99_ms: float
    bar_top_priority_start_ms: float
    prefetched: float
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.workplace() as place:
        stamp = support.compiled("stamp.c", place)
        disk = figures.Disk(place)
        disk.probe()
        with support.mythjobs_up(place, IN_FLIGHT) as system:
            api = system.api
            api.post("commands", {"definition": support.TRUE, "replace": False})
            latency.define_stamp(api, stamp, place / "stamps")
            # What the first jobs load is no part of a backlog's memory, and only a command
            # that is known to be short is prefetched.
            support.note("backlog: warming up …")
            api.wait_batch(api.batch("true", WARM_UP))
            for number in range(20):
                api.wait_job(api.submit("stamp", label=f"warm{number}"))
            time.sleep(SETTLE_S)
            master = system.pids()["master"]
            rss_before_mb = processes.rss_mb(master)

            support.note(f"backlog: submitting {arguments.jobs:,} jobs …")
            began = time.monotonic()
            batch = api.batch("true", arguments.jobs)
            accept_s = time.monotonic() - began
            time.sleep(SETTLE_S)
            rss_after_mb = processes.rss_mb(master)

            submitted, prefetched = submit_urgent(api, batch)
        disk.probe()
        started = figures.starts_ns(place / "stamps")
    took_ms = [(started[label] - at_ns) / 1e6 for label, at_ns in submitted.items()]
    return {
        "jobs": arguments.jobs,
        "accepted_per_s": arguments.jobs / accept_s,
        "accept_s": accept_s,
        "bar_accept_s": 4 + 50 * disk.p50_ms / 1000,
        "master_rss_mb": rss_before_mb,
        "master_growth_mb": rss_after_mb - rss_before_mb,
        "top_priority_start_ms": figures.percentile(took_ms, 50),
        "top_priority_start_p99_ms": figures.percentile(took_ms, 99),
        "bar_top_priority_start_ms": 10 + 4 * disk.p50_ms,
        "prefetched": statistics.median(prefetched),
        "fsync_p50_ms": disk.p50_ms,
    }


def submit_urgent(api: support.Api, batch: int) -> tuple[dict[str, int], list[int]]:
    """For each label the instant right before its submit, and how many attempts had been granted
    but not started just before."""
    submitted, prefetched = {}, []
    for number in range(URGENT):
        support.note(f"backlog: urgent job {number + 1} of {URGENT} …")
        time.sleep(random.uniform(*PAUSE_S))
        [machine] = api.get("machines")["machines"]
        prefetched.append(machine["leased"] - machine["running"])
        at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        job = api.submit("stamp", URGENT_PRIORITY, label=f"n{number}")
        submitted[f"n{number}"] = at_ns
        api.wait_job(job)
        if api.get(f"batches/{batch}")["over"]:
            raise support.BenchError(
                f"the backlog was worked off after {number + 1} urgent jobs; ask for more --jobs"
            )
    return submitted, prefetched


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    fsync_ms, jobs = result["fsync_p50_ms"], result["jobs"]
    before_mb, growth_mb = result["master_rss_mb"], result["master_growth_mb"]
    start_ms, bar_ms = result["top_priority_start_ms"], result["bar_top_priority_start_ms"]
    # The bars are of 100,000 jobs; fewer are shown without a verdict.
    whole = jobs >= 100_000
    lines = [
        figures.Row("accepted", f"{result['accepted_per_s']:,.0f}/s"),
        figures.Row(
            f"{jobs:,} jobs in",
            f"{result['accept_s']:.2f} s",
            bar=f"≤ {result['bar_accept_s']:.2f} s",
            met=result["accept_s"] <= result["bar_accept_s"] if whole else None,
        ),
        figures.Row(
            "master grows by",
            f"{growth_mb:.1f} MB",
            f"{before_mb:.1f} MB before",
            f"{growth_mb / before_mb:.2f}",
            f"≤ {GROWTH_BAR_MB:.0f} MB",
            growth_mb <= GROWTH_BAR_MB if whole else None,
        ),
        figures.Row(
            "urgent job starts, p50",
            f"{start_ms:.2f} ms",
            f"fsync {fsync_ms:.2f} ms",
            f"{start_ms / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            start_ms <= bar_ms if whole else None,
        ),
        figures.Row("urgent job starts, p99", f"{result['top_priority_start_p99_ms']:.2f} ms"),
        figures.Row("prefetched meanwhile", f"{result['prefetched']:.0f}"),
    ]
    return "backlog: jobs accepted in one request, drained two at a time", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="backlog", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    figures.run(parser, measure, rows)
