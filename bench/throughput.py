"""Benchmark of jobs of /bin/true per second, compared with raw C."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import figures
import job_kinds
import support
from job_kinds import JobKind

WARM_UP = 500
WARM_UP_OTHER = 100
SETTLE_S = 1.0
# None: `mythjobs up` without --jobs, so that the load of the machine decides.
AUTOMATIC = None
AUTOMATIC_NAME = "auto"
IN_FLIGHT = [2, 8, 32, AUTOMATIC]
# With this many in flight, the bars apply and all kinds of jobs are measured. Also the number of
# programs at once in C that automatic scaling is compared with.
MAIN_IN_FLIGHT = 8
BARS = {"plain": 0.65, "contained": 0.55}
CPU_BAR_US = 420.0
STORE_BAR = 0.6


class KindFigures(TypedDict):
    jobs_per_s: float
    raw_c_per_s: float
    ratio: float
    cpu_us_per_job: dict[str, float]
    cpu_us_total: float


class Figures(TypedDict):
    in_flight: int | None
    jobs_per_s: float
    raw_c_per_s: float
    ratio: float
    contained_ratio: float | None
    contained_reason: str | None
    store_jobs_per_s: float | None
    store_ratio: float | None
    fsync_p50_ms: float
    cpu_us_per_job: dict[str, float]
    cpu_us_total: float
    kinds: dict[str, KindFigures]
    rejected: dict[str, str]


class Size(NamedTuple):
    """What each measurement repeats."""

    in_flight: int | None
    jobs: int
    rounds: int


def measure(arguments: argparse.Namespace) -> list[Figures]:
    with support.temporary_directory() as directory:
        raw = support.compile_c("raw_spawn.c", directory)
        found = []
        for in_flight in arguments.in_flight or IN_FLIGHT:
            size = Size(in_flight, arguments.jobs, arguments.rounds)
            kinds = choose_kinds(arguments.kinds, arguments.in_flight, in_flight)
            result = measure_at(size, kinds, raw, directory)
            if arguments.store is not None:
                with support.new_database(arguments.store) as url:
                    other = measure_at(size, [job_kinds.PLAIN], raw, directory, store=url)
                result["store_jobs_per_s"] = other["jobs_per_s"]
                # Each relative to its own C runs: the speed of a machine varies over time.
                result["store_ratio"] = other["ratio"] / result["ratio"]
            found.append(result)
        return found


def choose_kinds(
    names: Sequence[str] | None,
    chosen_in_flight: Sequence[int | None] | None,
    in_flight: int | None,
) -> list[JobKind]:
    """Return the kinds to measure; plain jobs always.

    Without a choice all kinds are measured at 8 in flight. The others and shorter runs, which name
    the number in flight, have plain and contained jobs.
    """
    if names is None:
        is_full = chosen_in_flight is None and in_flight == MAIN_IN_FLIGHT
        names = [each.name for each in job_kinds.KINDS] if is_full else ["contained"]
    return [each for each in job_kinds.KINDS if each.name in {"plain", *names}]


def measure_at(
    size: Size, kinds: Sequence[JobKind], raw: Path, directory: Path, store: str | None = None
) -> Figures:
    disk = figures.DiskProbe(directory)
    in_flight, name = size.in_flight or MAIN_IN_FLIGHT, size.in_flight or AUTOMATIC_NAME
    with support.mythjobs_up(directory, size.in_flight, store) as system:
        kinds, rejected = job_kinds.define_commands(system.api, kinds)
        for kind in kinds:  # prefetch starts once the run time of a command is known
            warm_up = WARM_UP if kind.name in BARS else WARM_UP_OTHER
            kind.run(system, warm_up, size.in_flight)
        rates: dict[str, list[float]] = {}
        cpu: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
        for number in range(1, size.rounds + 1):
            support.show_progress(
                f"throughput: {name} in flight, round {number} of {size.rounds} …"
            )
            disk.measure()
            for baseline in dict.fromkeys(kind.baseline for kind in kinds):
                found = job_kinds.run_raw(raw, baseline, size.jobs, in_flight)
                rates.setdefault(baseline, []).append(found.jobs_per_s)
            for kind in kinds:
                time.sleep(SETTLE_S)
                meter = job_kinds.CpuMeter(system)
                rate = kind.run(system, size.jobs, size.in_flight)
                rates.setdefault(kind.name, []).append(rate)
                job_kinds.wait_collected(system)
                cpu[kind.name].append(meter.read_us_per_job(size.jobs))
            time.sleep(SETTLE_S)
        disk.measure()
    by_kind = {
        kind.name: summarize(rates[kind.name], rates[kind.baseline], cpu[kind.name])
        for kind in kinds
    }
    plain = by_kind["plain"]
    return {
        "in_flight": size.in_flight,
        "jobs_per_s": plain["jobs_per_s"],
        "raw_c_per_s": plain["raw_c_per_s"],
        "ratio": plain["ratio"],
        "contained_ratio": by_kind["contained"]["ratio"] if "contained" in by_kind else None,
        "contained_reason": rejected.get("contained"),
        "store_jobs_per_s": None,
        "store_ratio": None,
        "fsync_p50_ms": disk.p50_ms,
        "cpu_us_per_job": plain["cpu_us_per_job"],
        "cpu_us_total": plain["cpu_us_total"],
        "kinds": by_kind,
        "rejected": rejected,
    }


def summarize(
    rates: Sequence[float], raw_rates: Sequence[float], cpu: Sequence[dict[str, float]]
) -> KindFigures:
    """Return the medians of the rounds of one kind."""
    jobs_per_s, raw_c_per_s = statistics.median(rates), statistics.median(raw_rates)
    return {
        "jobs_per_s": jobs_per_s,
        "raw_c_per_s": raw_c_per_s,
        "ratio": jobs_per_s / raw_c_per_s,
        "cpu_us_per_job": {name: statistics.median(each[name] for each in cpu) for name in cpu[0]},
        "cpu_us_total": statistics.median(sum(each.values()) for each in cpu),
    }


def rows(results: Sequence[Figures]) -> tuple[str, list[figures.Row]]:
    lines = []
    for each in results:
        for kind in job_kinds.KINDS:
            if kind.name in each["kinds"]:
                lines += _kind_rows(each["in_flight"], kind, each["kinds"][kind.name])
        lines += _store_rows(each)
        lines.append(figures.Row("  fsync p50", f"{each['fsync_p50_ms']:.2f} ms"))
    reasons = {f"{name}: {why}" for each in results for name, why in each["rejected"].items()}
    title = "throughput: /bin/true, first submit to last durable end"
    return title + "".join(f"\n  {reason}" for reason in sorted(reasons)), lines


def _kind_rows(in_flight: int | None, kind: JobKind, found: KindFigures) -> list[figures.Row]:
    has_bars = in_flight == MAIN_IN_FLIGHT
    title = "automatic scaling" if in_flight is AUTOMATIC else f"{in_flight} in flight"
    bar = BARS.get(kind.name) if has_bars else None
    cpu_bar_us = CPU_BAR_US if has_bars and kind.name == "plain" else None
    parts = ", ".join(f"{name} {used:.0f}" for name, used in found["cpu_us_per_job"].items())
    return [
        figures.Row(
            f"  {kind.title}" if kind.title else title,
            f"{found['jobs_per_s']:,.0f}/s",
            f"C {found['raw_c_per_s']:,.0f}/s",
            f"{found['ratio']:.2f}",
            f"≥ {bar:.2f}" if bar else "–",
            found["ratio"] >= bar if bar else None,
        ),
        figures.Row(
            "    CPU per job",
            f"{found['cpu_us_total']:.0f} µs",
            parts,
            bar=f"≤ {cpu_bar_us:.0f} µs" if cpu_bar_us else "–",
            is_met=found["cpu_us_total"] <= cpu_bar_us if cpu_bar_us else None,
        ),
    ]


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


def read_in_flight(text: str) -> int | None:
    return AUTOMATIC if text == AUTOMATIC_NAME else int(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="throughput", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000, help="jobs a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--in-flight", type=read_in_flight, nargs="+", metavar=f"NUMBER|{AUTOMATIC_NAME}",
        help="instead of 2, 8, 32 and automatic scaling; measures fewer kinds",
    )  # fmt: skip
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[each.name for each in job_kinds.KINDS],
        help="kinds of jobs beside plain ones, instead of all at 8 in flight, otherwise contained",
    )
    parser.add_argument("--store", metavar="URL", help="a PostgreSQL server to compare with")
    figures.run_benchmark(parser, measure, rows)
