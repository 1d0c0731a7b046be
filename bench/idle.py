"""Benchmark of idle master, agent and reaper: CPU time, wake-ups and memory."""

from __future__ import annotations

import argparse
import time
from typing import Any

import figures
import processes
import support

SETTLE_S = 5.0
BAR_CPU_S_PER_MIN = 0.3
# Of agent and reaper together, which a machine beside the master's has.
BAR_MACHINE_CPU_S_PER_MIN = 0.2
BAR_MACHINE_PSS_MB = 60.0
KEYS = ("cpu_s_per_min", "wakeups_per_min", "rss_mb", "pss_mb")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with support.temporary_directory() as directory:
        disk = figures.DiskProbe(directory)
        disk.measure()
        with support.mythjobs_up(directory, jobs=2) as system:
            # The first job loads code and starts the reaper.
            system.api.post("commands", {"definition": support.TRUE, "replace": False})
            system.api.wait_job(system.api.submit("true"))
            system.api.close()
            pids = system.pids()
            support.show_progress("idle: settling …")
            time.sleep(SETTLE_S)
            support.show_progress(f"idle: measuring for {arguments.seconds:.0f} s …")
            before = {name: processes.read_sample(pid) for name, pid in pids.items()}
            start_s = time.monotonic()
            time.sleep(arguments.seconds)
            minutes = (time.monotonic() - start_s) / 60
            after = {name: processes.read_sample(pid) for name, pid in pids.items()}
            each = {
                name: {
                    "cpu_s_per_min": (after[name].cpu_s - before[name].cpu_s) / minutes,
                    "wakeups_per_min": after[name].switches_since(before[name]) / minutes,
                    "rss_mb": processes.read_rss_mb(pid),
                    "pss_mb": processes.read_pss_mb(pid),
                }
                for name, pid in pids.items()
            }
        disk.measure()
    total = {key: sum(one[key] for one in each.values()) for key in KEYS}
    return total | {
        "seconds": arguments.seconds,
        "bar_cpu_s_per_min": BAR_CPU_S_PER_MIN,
        "machine": {key: each["agent"][key] + each["reaper"][key] for key in KEYS},
        "fsync_p50_ms": disk.p50_ms,
        **each,
    }


def rows(result: dict[str, Any]) -> tuple[str, list[figures.Row]]:
    lines = []
    bars = {"total": BAR_CPU_S_PER_MIN, "machine": BAR_MACHINE_CPU_S_PER_MIN}
    memory_bars = {"machine": BAR_MACHINE_PSS_MB}
    for name in ("master", "agent", "reaper", "machine", "total"):
        one = result if name == "total" else result[name]
        cpu_s, pss_mb = one["cpu_s_per_min"], one["pss_mb"]
        bar, memory_bar = bars.get(name), memory_bars.get(name)
        name = "agent and reaper" if name == "machine" else name
        lines += [
            figures.Row(
                f"{name}, CPU a minute",
                f"{cpu_s:.3f} s",
                "60 s",
                f"{cpu_s / 60:.4f}",
                "–" if bar is None else f"≤ {bar} s",
                None if bar is None else cpu_s <= bar,
            ),
            figures.Row("  wake-ups a minute", f"{one['wakeups_per_min']:.0f}"),
            figures.Row("  resident memory", f"{one['rss_mb']:.1f} MB"),
            figures.Row(
                "  memory, shared pages once",
                f"{pss_mb:.1f} MB",
                bar="–" if memory_bar is None else f"≤ {memory_bar:.0f} MB",
                is_met=None if memory_bar is None else pss_mb <= memory_bar,
            ),
        ]
    return f"idle: {result['seconds']:.0f} s without jobs", lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    figures.run_benchmark(parser, measure, rows)
