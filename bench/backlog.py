"""Benchmark of a large backlog: time to accept it, and its cost for other requests and jobs."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import TypedDict

import figures
import latency
import processes
import support
import turns

IN_FLIGHT = 2
WARM_UP = 500
SETTLE_S = 2.0
URGENT = 50
URGENT_PRIORITY = 100
PAUSE_S = (0.05, 0.25)
REQUESTS = 100
# Turns with the backlog are compared with turns on this many jobs.
SMALL_BACKLOG = 1000
TURN_RATIO_BAR = 1.3
RESPONSE_BAR_MS = 100.0
# Bars apply to backlogs of at least these sizes.
LARGE_BACKLOG, HUGE_BACKLOG = 100_000, 1_000_000
GROWTH_BAR_MB = {LARGE_BACKLOG: 20.0, HUGE_BACKLOG: 30.0}


class Figures(TypedDict):
    jobs: int
    classes: int
    accepted_per_s: float
    accept_s: float
    bar_accept_s: float
    master_rss_mb: float
    master_growth_mb: float
    top_priority_start_ms: float
    top_priority_start_p99_ms: float
    bar_top_priority_start_ms: float
    prefetched: float
    submit_p50_ms: float
    bar_submit_p50_ms: float
    jobs_p50_ms: float
    why_p50_ms: float
    turn_few_ms: float
    turn_ms: float
    turn_ratio: float
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.temporary_directory() as directory:
        stamp = support.compile_c("stamp.c", directory)
        disk = figures.DiskProbe(directory)
        disk.measure()
        few, many = turns.measure(directory, SMALL_BACKLOG, arguments.jobs, arguments.classes)
        with support.mythjobs_up(directory, IN_FLIGHT) as system:
            api = system.api
            api.post("commands", {"definition": support.TRUE, "replace": False})
            latency.define_stamp_command(api, stamp, directory / "stamps")
            names = define_classes(api, arguments.classes)
            # Code loaded by the first jobs must not count as memory of the backlog, and only
            # commands that are known to be short are prefetched.
            support.show_progress("backlog: warming up …")
            api.wait_batch(api.submit_batch("true", WARM_UP))
            for number in range(20):
                api.wait_job(api.submit("stamp", label=f"warm{number}"))
            time.sleep(SETTLE_S)
            master = system.pids()["master"]
            rss_before_mb = processes.read_rss_mb(master)

            support.show_progress(f"backlog: submitting {arguments.jobs:,} jobs …")
            start_s = time.monotonic()
            batch = submit_backlog(api, names, arguments.jobs)
            accept_s = time.monotonic() - start_s
            time.sleep(SETTLE_S)
            rss_after_mb = processes.read_rss_mb(master)

            submits_ms, lists_ms, whys_ms = measure_responses(api, batch)
            submitted, prefetched = submit_urgent(api, batch)
        disk.measure()
        started = figures.read_start_times(directory / "stamps")
    elapsed_ms = [(started[label] - at_ns) / 1e6 for label, at_ns in submitted.items()]
    return {
        "jobs": arguments.jobs,
        "classes": arguments.classes,
        "accepted_per_s": arguments.jobs / accept_s,
        "accept_s": accept_s,
        "bar_accept_s": 4 + 50 * disk.p50_ms / 1000,
        "master_rss_mb": rss_before_mb,
        "master_growth_mb": rss_after_mb - rss_before_mb,
        "top_priority_start_ms": figures.percentile(elapsed_ms, 50),
        "top_priority_start_p99_ms": figures.percentile(elapsed_ms, 99),
        "bar_top_priority_start_ms": 10 + 4 * disk.p50_ms,
        "prefetched": statistics.median(prefetched),
        "submit_p50_ms": figures.percentile(submits_ms, 50),
        "bar_submit_p50_ms": 2 + 3 * disk.p50_ms,
        "jobs_p50_ms": figures.percentile(lists_ms, 50),
        "why_p50_ms": figures.percentile(whys_ms, 50),
        "turn_few_ms": few.core_ms,
        "turn_ms": many.core_ms,
        "turn_ratio": many.core_ms / few.core_ms,
        "fsync_p50_ms": disk.p50_ms,
    }


def define_classes(api: support.Api, classes: int) -> list[str]:
    """Define a command for each class, unless there is only the class of `true`."""
    if classes == 1:
        return ["true"]
    names = [f"c{number}" for number in range(classes)]
    for name in names:
        api.post("commands", {"definition": support.TRUE | {"name": name}, "replace": False})
    return names


def submit_backlog(api: support.Api, names: list[str], jobs: int) -> int:
    """Submit a batch for each class. Return the id of the last."""
    sizes = [jobs // len(names) + (number < jobs % len(names)) for number in range(len(names))]
    return [api.submit_batch(name, size) for name, size in zip(names, sizes, strict=True) if size][
        -1
    ]


def measure_responses(api: support.Api, batch: int) -> tuple[list[float], list[float], list[float]]:
    """Return response times of submit, jobs and `why` in ms, while no job runs."""
    support.show_progress("backlog: measuring response times …")
    [machine] = api.get("machines")["machines"]
    name, last = machine["name"], api.get(f"batches/{batch}")["last"]
    api.post(f"machines/{name}", {"jobs": 0})
    while api.get("machines")["machines"][0]["running"]:
        time.sleep(0.1)
    ids: list[int] = []
    submits = [_measure_ms(lambda: ids.append(api.submit("true"))) for _ in range(REQUESTS)]
    lists = [_measure_ms(lambda: api.get("jobs")) for _ in range(REQUESTS)]
    explanations = [_measure_ms(lambda: api.get(f"jobs/{last}/why")) for _ in range(REQUESTS)]
    api.post(f"machines/{name}", {"jobs": IN_FLIGHT})
    return submits, lists, explanations


def _measure_ms(request: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    request()
    return (time.perf_counter() - start_s) * 1000


def submit_urgent(api: support.Api, batch: int) -> tuple[dict[str, int], list[int]]:
    """Return the submit time of each label (CLOCK_MONOTONIC, ns), and samples of the number of
    prefetched attempts."""
    submitted, prefetched = {}, []
    for number in range(URGENT):
        support.show_progress(f"backlog: urgent job {number + 1} of {URGENT} …")
        time.sleep(random.uniform(*PAUSE_S))
        [machine] = api.get("machines")["machines"]
        prefetched.append(machine["leased"] - machine["running"])
        at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        job = api.submit("stamp", URGENT_PRIORITY, label=f"n{number}")
        submitted[f"n{number}"] = at_ns
        api.wait_job(job)
        if api.get(f"batches/{batch}")["over"]:
            raise support.BenchError(
                f"the backlog ended after {number + 1} urgent jobs; increase --jobs"
            )
    return submitted, prefetched


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    fsync_ms, jobs = result["fsync_p50_ms"], result["jobs"]
    before_mb, growth_mb = result["master_rss_mb"], result["master_growth_mb"]
    start_ms, bar_ms = result["top_priority_start_ms"], result["bar_top_priority_start_ms"]
    # Figures of smaller backlogs are printed without a bar.
    is_large = jobs >= LARGE_BACKLOG
    is_plain = is_large and jobs < HUGE_BACKLOG and result["classes"] == 1
    growth_bar_mb = GROWTH_BAR_MB[HUGE_BACKLOG if jobs >= HUGE_BACKLOG else LARGE_BACKLOG]
    lines = [
        figures.Row("accepted", f"{result['accepted_per_s']:,.0f}/s"),
        figures.Row(
            f"{jobs:,} jobs in",
            f"{result['accept_s']:.2f} s",
            bar=f"≤ {result['bar_accept_s']:.2f} s",
            is_met=result["accept_s"] <= result["bar_accept_s"] if is_plain else None,
        ),
        figures.Row(
            "master growth",
            f"{growth_mb:.1f} MB",
            f"{before_mb:.1f} MB before",
            f"{growth_mb / before_mb:.2f}",
            f"≤ {growth_bar_mb:.0f} MB",
            growth_mb <= growth_bar_mb if is_large else None,
        ),
        figures.Row(
            "urgent job start, p50",
            f"{start_ms:.2f} ms",
            f"fsync {fsync_ms:.2f} ms",
            f"{start_ms / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            start_ms <= bar_ms if is_plain else None,
        ),
        figures.Row("urgent job start, p99", f"{result['top_priority_start_p99_ms']:.2f} ms"),
        figures.Row("prefetched", f"{result['prefetched']:.0f}"),
        *_response_rows(result, is_large),
    ]
    return "backlog: jobs accepted in one request, two running at a time", lines


def _response_rows(result: Figures, is_large: bool) -> list[figures.Row]:
    fsync_ms, few_ms, turn_ms = result["fsync_p50_ms"], result["turn_few_ms"], result["turn_ms"]
    submit_ms, bar_ms = result["submit_p50_ms"], result["bar_submit_p50_ms"]
    answers = [
        figures.Row(
            f"{name} response, p50",
            f"{elapsed_ms:.2f} ms",
            bar=f"≤ {RESPONSE_BAR_MS:.0f} ms",
            is_met=elapsed_ms <= RESPONSE_BAR_MS if is_large else None,
        )
        for name, elapsed_ms in (("jobs", result["jobs_p50_ms"]), ("why", result["why_p50_ms"]))
    ]
    return [
        figures.Row(
            "submit, p50",
            f"{submit_ms:.2f} ms",
            f"fsync {fsync_ms:.2f} ms",
            f"{submit_ms / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            submit_ms <= bar_ms if is_large else None,
        ),
        *answers,
        figures.Row(
            f"turn of {turns.SLOTS} ends and leases",
            f"{turn_ms:.2f} ms",
            f"{few_ms:.2f} ms with {SMALL_BACKLOG:,}",
            f"{turn_ms / few_ms:.2f}",
            f"≤ {TURN_RATIO_BAR:.1f}",
            turn_ms / few_ms <= TURN_RATIO_BAR if is_large else None,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="backlog", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument(
        "--classes", type=int, default=1, help="number of commands that share the jobs"
    )
    figures.run_benchmark(parser, measure, rows)
