"""A backlog of one class or many: how fast it is taken in, and what it then costs all others."""

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
ASKED = 100
# A turn with this backlog beside one with so many jobs.
FEW_JOBS = 1000
TURN_BAR = 1.3
ANSWER_BAR_MS = 100.0
# The bars are of backlogs from these sizes on.
WHOLE, HUGE = 100_000, 1_000_000
GROWTH_BAR_MB = {WHOLE: 20.0, HUGE: 30.0}


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
    with support.workplace() as place:
        stamp = support.compiled("stamp.c", place)
        disk = figures.Disk(place)
        disk.probe()
        few, many = turns.measure(place, FEW_JOBS, arguments.jobs, arguments.classes)
        with support.mythjobs_up(place, IN_FLIGHT) as system:
            api = system.api
            api.post("commands", {"definition": support.TRUE, "replace": False})
            latency.define_stamp(api, stamp, place / "stamps")
            names = define_classes(api, arguments.classes)
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
            batch = take_in(api, names, arguments.jobs)
            accept_s = time.monotonic() - began
            time.sleep(SETTLE_S)
            rss_after_mb = processes.rss_mb(master)

            submits_ms, lists_ms, whys_ms = ask(api, batch)
            submitted, prefetched = submit_urgent(api, batch)
        disk.probe()
        started = figures.starts_ns(place / "stamps")
    took_ms = [(started[label] - at_ns) / 1e6 for label, at_ns in submitted.items()]
    return {
        "jobs": arguments.jobs,
        "classes": arguments.classes,
        "accepted_per_s": arguments.jobs / accept_s,
        "accept_s": accept_s,
        "bar_accept_s": 4 + 50 * disk.p50_ms / 1000,
        "master_rss_mb": rss_before_mb,
        "master_growth_mb": rss_after_mb - rss_before_mb,
        "top_priority_start_ms": figures.percentile(took_ms, 50),
        "top_priority_start_p99_ms": figures.percentile(took_ms, 99),
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
    """A command for each class; one class is the command that is known already."""
    if classes == 1:
        return ["true"]
    names = [f"c{number}" for number in range(classes)]
    for name in names:
        api.post("commands", {"definition": support.TRUE | {"name": name}, "replace": False})
    return names


def take_in(api: support.Api, names: list[str], jobs: int) -> int:
    """A batch for each class; answers the last."""
    sizes = [jobs // len(names) + (number < jobs % len(names)) for number in range(len(names))]
    return [api.batch(name, size) for name, size in zip(names, sizes, strict=True) if size][-1]


def ask(api: support.Api, batch: int) -> tuple[list[float], list[float], list[float]]:
    """How long a submit, a list and a `why` take, in ms, while nothing runs."""
    support.note("backlog: asking …")
    [machine] = api.get("machines")["machines"]
    name, last = machine["name"], api.get(f"batches/{batch}")["last"]
    api.post(f"machines/{name}", {"jobs": 0})
    while api.get("machines")["machines"][0]["running"]:
        time.sleep(0.1)
    ids: list[int] = []
    submits = [_took_ms(lambda: ids.append(api.submit("true"))) for _ in range(ASKED)]
    lists = [_took_ms(lambda: api.get("jobs")) for _ in range(ASKED)]
    whys = [_took_ms(lambda: api.get(f"jobs/{last}/why")) for _ in range(ASKED)]
    api.post(f"machines/{name}", {"jobs": IN_FLIGHT})
    return submits, lists, whys


def _took_ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


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
    # Others are shown without a verdict.
    whole = jobs >= WHOLE
    plain = whole and jobs < HUGE and result["classes"] == 1
    growth_bar_mb = GROWTH_BAR_MB[HUGE if jobs >= HUGE else WHOLE]
    lines = [
        figures.Row("accepted", f"{result['accepted_per_s']:,.0f}/s"),
        figures.Row(
            f"{jobs:,} jobs in",
            f"{result['accept_s']:.2f} s",
            bar=f"≤ {result['bar_accept_s']:.2f} s",
            met=result["accept_s"] <= result["bar_accept_s"] if plain else None,
        ),
        figures.Row(
            "master grows by",
            f"{growth_mb:.1f} MB",
            f"{before_mb:.1f} MB before",
            f"{growth_mb / before_mb:.2f}",
            f"≤ {growth_bar_mb:.0f} MB",
            growth_mb <= growth_bar_mb if whole else None,
        ),
        figures.Row(
            "urgent job starts, p50",
            f"{start_ms:.2f} ms",
            f"fsync {fsync_ms:.2f} ms",
            f"{start_ms / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            start_ms <= bar_ms if plain else None,
        ),
        figures.Row("urgent job starts, p99", f"{result['top_priority_start_p99_ms']:.2f} ms"),
        figures.Row("prefetched meanwhile", f"{result['prefetched']:.0f}"),
        *_asked_rows(result, whole),
    ]
    return "backlog: jobs accepted in one request, drained two at a time", lines


def _asked_rows(result: Figures, whole: bool) -> list[figures.Row]:
    fsync_ms, few_ms, turn_ms = result["fsync_p50_ms"], result["turn_few_ms"], result["turn_ms"]
    submit_ms, bar_ms = result["submit_p50_ms"], result["bar_submit_p50_ms"]
    answers = [
        figures.Row(
            f"{name} answers, p50",
            f"{took_ms:.2f} ms",
            bar=f"≤ {ANSWER_BAR_MS:.0f} ms",
            met=took_ms <= ANSWER_BAR_MS if whole else None,
        )
        for name, took_ms in (("jobs", result["jobs_p50_ms"]), ("why", result["why_p50_ms"]))
    ]
    return [
        figures.Row(
            "submit, p50",
            f"{submit_ms:.2f} ms",
            f"fsync {fsync_ms:.2f} ms",
            f"{submit_ms / fsync_ms:.1f}",
            f"≤ {bar_ms:.2f} ms",
            submit_ms <= bar_ms if whole else None,
        ),
        *answers,
        figures.Row(
            f"turn of {turns.PLACES} ends and leases",
            f"{turn_ms:.2f} ms",
            f"{few_ms:.2f} ms with {FEW_JOBS:,}",
            f"{turn_ms / few_ms:.2f}",
            f"≤ {TURN_BAR:.1f}",
            turn_ms / few_ms <= TURN_BAR if whole else None,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="backlog", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1, help="so many commands share the jobs")
    figures.run(parser, measure, rows)
