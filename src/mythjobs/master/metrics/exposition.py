"""Metrics in the text format of Prometheus, from the master's state, store and counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import mythjobs
from mythjobs.clock import Now
from mythjobs.master.explain.machine import summarize_machine
from mythjobs.master.machine import Machine
from mythjobs.master.metrics.counters import Histogram, MetricsCounters
from mythjobs.master.state import MasterState
from mythjobs.store.queries.metrics import StoreFigures

# Maximum number of values of labels. Further commands are summed up as OTHER, further machines and
# schedules are left out: each value is a time series in the monitoring system.
MAX_COMMANDS: Final = 200
MAX_MACHINES: Final = 200
MAX_SCHEDULES: Final = 200
OTHER: Final = "(other)"


def write_metrics(
    state: MasterState,
    figures: StoreFigures,
    counters: MetricsCounters,
    *,
    started_ms: int,
    now: Now,
) -> bytes:
    """Return all metrics. started_ms: start of the master."""

    class Metrics(Collector):
        def collect(self) -> Iterable[Metric]:
            names = _choose_names(figures)
            yield from _describe_master(state, figures, counters, started_ms)
            yield from _describe_queue(figures, names, now)
            yield from _describe_runs(counters, names)
            yield from _describe_schedules(state, now)
            yield from _describe_machines(state, now)

    return bytes(generate_latest(Metrics()))


def _choose_names(figures: StoreFigures) -> dict[int, str]:
    """Return the value of the label `command` by command id: the name of the oldest commands."""
    chosen = sorted(figures.names)[:MAX_COMMANDS]
    return {each: figures.names[each] for each in chosen}


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> Any:
    return GaugeMetricFamily(f"mythjobs_{name}", text, labels=list(labels))


def _histogram(name: str, text: str, labels: Iterable[str] = ()) -> Any:
    return HistogramMetricFamily(f"mythjobs_{name}", text, labels=list(labels))


def _describe_master(
    state: MasterState, figures: StoreFigures, counters: MetricsCounters, started_ms: int
) -> Iterator[Metric]:
    info = _gauge("info", "Version of the master", ["version"])
    info.add_metric([mythjobs.__version__], 1)
    yield info
    yield _value("start_time_seconds", "Start of the master, since 1970", started_ms / 1000)
    yield _value("store_bytes", "Size of the store", figures.store_bytes)
    yield _value("unread_notifications", "Unread notifications, at most 100", figures.unread)
    failing = _gauge("channel_failing", "1 if messages to a channel fail", ["channel"])
    for name, target in state.notify.targets.items():
        failing.add_metric([name], int(target.row.failing_ms is not None))
    yield failing
    turns = _histogram("turn_duration_seconds", "Duration of turns with their commit")
    turns.add_metric([], counters.turns.list_buckets(), counters.turns.total)
    yield turns
    statements = _histogram("turn_statements", "Statements of the store by turn")
    statements.add_metric([], counters.statements.list_buckets(), counters.statements.total)
    yield statements


def _value(name: str, text: str, value: float) -> Metric:
    gauge = _gauge(name, text)
    gauge.add_metric([], value)
    return gauge  # type: ignore[no-any-return]


def _describe_queue(figures: StoreFigures, names: dict[int, str], now: Now) -> Iterator[Metric]:
    jobs = _gauge("jobs", "Jobs by command and state; ended ones while kept", ["command", "state"])
    sums: dict[tuple[str, str], int] = {}
    for (command_id, state), count in figures.jobs.items():
        key = (names.get(command_id, OTHER), state)
        sums[key] = sums.get(key, 0) + count
    for key, count in sorted(sums.items()):
        jobs.add_metric(key, count)
    yield jobs
    oldest = _gauge("oldest_queued_seconds", "Age of the oldest queued job", ["command"])
    known = set(names.values())
    ages: dict[str, float] = {}
    for name, submitted_ms in figures.oldest_ms.items():
        label = name if name in known else OTHER
        age_s = max(now.wall_ms - submitted_ms, 0) / 1000
        ages[label] = max(ages.get(label, 0.0), age_s)
    for label, age_s in sorted(ages.items()):
        oldest.add_metric([label], age_s)
    yield oldest
    output = _gauge("output_bytes", "Kept output of ended attempts", ["command"])
    sizes: dict[str, int] = {}
    for command_id, size in figures.output_bytes.items():
        label = names.get(command_id, OTHER)
        sizes[label] = sizes.get(label, 0) + size
    for label, size in sorted(sizes.items()):
        output.add_metric([label], size)
    yield output


def _describe_runs(counters: MetricsCounters, names: dict[int, str]) -> Iterator[Metric]:
    for name, text, found in (
        ("job_wait_seconds", "Time from submit to first lease", counters.waits),
        ("attempt_run_seconds", "Run time of ended attempts", counters.runs),
    ):
        family = _histogram(name, text, ["command"])
        for label, histogram in sorted(_merge(found, names).items()):
            family.add_metric([label], histogram.list_buckets(), histogram.total)
        yield family
    results = CounterMetricFamily(
        "mythjobs_attempts_ended",
        "Ended attempts by how the program ended and what became of the job",
        labels=["command", "outcome", "result"],
    )
    sums: dict[tuple[str, str, str], int] = {}
    for (command_id, outcome, result), count in counters.results.items():
        key = (names.get(command_id, OTHER), outcome, result)
        sums[key] = sums.get(key, 0) + count
    for key, count in sorted(sums.items()):
        results.add_metric(key, count)
    yield results


def _merge(found: dict[int, Histogram], names: dict[int, str]) -> dict[str, Histogram]:
    """Return histograms by the label of their command; those of other commands are summed up."""
    merged: dict[str, Histogram] = {}
    for command_id, histogram in list(found.items()):
        label = names.get(command_id, OTHER)
        total = merged.setdefault(label, Histogram(histogram.bounds))
        total.counts = [a + b for a, b in zip(total.counts, histogram.counts, strict=True)]
        total.total += histogram.total
    return merged


def _describe_schedules(state: MasterState, now: Now) -> Iterator[Metric]:
    text = "For how long a run should have started; 0 if none is late"
    late = _gauge("schedule_lateness_seconds", text, ["schedule"])
    paused = _gauge("schedule_paused", "1 while a schedule is paused", ["schedule"])
    started = {
        job_id
        for machine in state.machines.values()
        for job_id, attempt in machine.live_attempts.items()
        if attempt.started_ms is not None
    }
    states = sorted(state.schedules.by_id.values(), key=lambda each: each.schedule_id)
    for each in states[:MAX_SCHEDULES]:
        waiting = [tick.tick_ms for tick in each.open if tick.job_id not in started]
        late_s = max(now.wall_ms - min(waiting, default=now.wall_ms), 0) / 1000
        late.add_metric([each.name], late_s)
        paused.add_metric([each.name], int(each.is_paused))
    yield from (late, paused)


def _describe_machines(state: MasterState, now: Now) -> Iterator[Metric]:
    machines = sorted(
        (each for each in state.machines.values() if each.is_listed), key=lambda each: each.name
    )[:MAX_MACHINES]
    up = _gauge("machine_up", "1 if a machine is connected", ["machine"])
    jobs = _gauge("machine_jobs", "Jobs on a machine", ["machine", "state"])
    slots = _gauge("machine_slots", "Maximum number of jobs; missing if set by load", ["machine"])
    free = _gauge("machine_free_slots", "Free slots by the machine's own count", ["machine"])
    text = "Further jobs, of a command that has not run there, for which there is room"
    fits = _gauge("machine_headroom_jobs", text, ["machine"])
    for each in machines:
        summary = summarize_machine(each, now)
        up.add_metric([each.name], int(summary["state"] == "up"))
        jobs.add_metric([each.name, "running"], summary["running"])
        jobs.add_metric([each.name, "leased"], summary["leased"])
        if not summary["by_load"]:
            slots.add_metric([each.name], summary["jobs"])
        if summary["free"] is not None:
            free.add_metric([each.name], summary["free"])
        if each.headroom is not None:
            fits.add_metric([each.name], each.headroom.other)
    yield from (up, jobs, slots, free, fits)
    yield from _describe_loads([each for each in machines if each.load is not None])


_LOADS: Final = (
    ("machine_cores", "Cores of a machine", "cores"),
    ("machine_cpu_cores", "Cores in use", "cpu"),
    ("machine_foreign_cpu_cores", "Cores used by programs that are not jobs", "foreign_cpu"),
    ("machine_memory_bytes", "Memory of a machine", "memory_bytes"),
    ("machine_available_bytes", "Memory that is free or can be freed", "available_bytes"),
)


def _describe_loads(machines: list[Machine]) -> Iterator[Metric]:
    for name, text, attribute in _LOADS:
        gauge = _gauge(name, text, ["machine"])
        for each in machines:
            gauge.add_metric([each.name], getattr(each.load, attribute))
        yield gauge
    busy = _gauge("machine_disk_busy", "Share of a disk's time in use", ["machine", "disk"])
    for each in machines:
        assert each.load is not None
        for disk, load in sorted(each.load.disks.items()):
            busy.add_metric([each.name, disk], load.busy)
    yield busy
