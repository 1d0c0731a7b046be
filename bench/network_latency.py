"""Benchmark of the time from a submit on the master to the start of the job's process on another
machine: over TLS, between two network namespaces with a virtual cable."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

import figures
import latency
import processes
import support
from agents import enter_namespace

OTHER_ADDRESS: Final = "10.77.0.2"
NAME: Final = "other"
BAR_MS: Final = 8.0
WARM_UP: Final = 10
CONNECT_TIMEOUT_S: Final = 60.0
# Run in the second namespace. The first line of its input says that the cable is plugged in.
_SCRIPT: Final = f"""
echo ready; read plugged
ip link set lo up && ip address add {OTHER_ADDRESS}/24 dev other && ip link set other up || exit
"$1" --state-dir "$2" agent join --name {NAME} "$3" && exec "$1" --state-dir "$2" agent
"""


class Figures(TypedDict):
    p50_ms: float
    p99_ms: float
    bar_ms: float
    local_p50_ms: float  # the same on the master's machine, in turns
    fsync_p50_ms: float


def measure(arguments: argparse.Namespace) -> Figures:
    with support.temporary_directory() as directory:
        stamps = directory / "stamps"
        stamp = support.compile_c("stamp.c", directory)
        disk = figures.DiskProbe(directory)
        with support.mythjobs_up(directory, jobs=2) as system:
            latency.define_stamp_command(system.api, stamp, stamps)
            # After its first job the master's own machine is known.
            system.api.wait_job(system.api.submit("stamp", label="first"))
            local = system.api.get("machines")["machines"][0]["name"]
            with second_machine(system, directory / "second"):
                submitted_ns = measure_start_times(system.api, local, disk, arguments.jobs)
        started = figures.read_start_times(stamps)
    elapsed_ms = {label: (started[label] - at_ns) / 1e6 for label, at_ns in submitted_ns.items()}
    remote = [each for label, each in elapsed_ms.items() if label.startswith("r")]
    here = [each for label, each in elapsed_ms.items() if label.startswith("l")]
    return {
        "p50_ms": figures.percentile(remote, 50),
        "p99_ms": figures.percentile(remote, 99),
        "bar_ms": BAR_MS,
        "local_p50_ms": figures.percentile(here, 50),
        "fsync_p50_ms": disk.p50_ms,
    }


@contextmanager
def second_machine(system: support.RunningSystem, state: Path) -> Iterator[None]:
    """Run an agent that has joined over the network, in a network namespace of its own."""
    api = system.api
    api.post("network", {"open": True})
    token = api.post("invitations", {})["token"]
    agent = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", _SCRIPT, "sh", support.MYTHJOBS, state, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=support.build_environment(),
    )
    try:
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdout.readline()
        subprocess.run(["ip", "link", "set", "other", "netns", str(agent.pid)], check=True)
        agent.stdin.write(b"plugged\n")
        agent.stdin.flush()
        wait_connected(api)
        yield
    finally:
        agent.terminate()
        agent.wait()
        processes.terminate_all(state, support.REAPER_STOP_TIMEOUT_S)


def wait_connected(api: support.Api) -> None:
    """Raises BenchError if the second machine is not connected in time."""
    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    while time.monotonic() < deadline_s:
        for each in api.get("machines")["machines"]:
            if each["name"] == NAME and each["free"]:
                return
        select.select([], [], [], 0.2)
    raise support.BenchError("the second machine did not join; try `bench/agents.py` for the cause")


def measure_start_times(
    api: support.Api, local: str, disk: figures.DiskProbe, jobs: int
) -> dict[str, int]:
    """Return the submit time of each label (CLOCK_MONOTONIC, ns, the same in all namespaces): "r…"
    are jobs on the second machine, "l…" on the master's."""
    submitted_ns: dict[str, int] = {}
    for number in range(-WARM_UP, jobs):
        if number % 20 == 0:
            support.show_progress(f"network latency: {max(number, 0)} of {jobs} …")
        for label, machine in ((f"r{number}", NAME), (f"l{number}", local)):
            latency.pause()
            disk.measure(1)
            latency.pause()
            at_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            body = {"command": "stamp", "arguments": {"label": label}, "machine": machine}
            api.wait_job(int(api.post("jobs", body)["id"]))
            if number >= 0:
                submitted_ns[label] = at_ns
    return submitted_ns


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    p50_ms, local_ms = result["p50_ms"], result["local_p50_ms"]
    return "network latency: submit to process start on another machine, TLS, idle system", [
        figures.Row(
            "p50", f"{p50_ms:.2f} ms", f"same machine {local_ms:.2f} ms",
            f"{p50_ms / local_ms:.2f}", f"≤ {BAR_MS:.0f} ms", p50_ms <= BAR_MS,
        ),
        figures.Row("p99", f"{result['p99_ms']:.2f} ms"),
        figures.Row("fsync", f"{result['fsync_p50_ms']:.2f} ms"),
    ]  # fmt: skip


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("network_latency: needs root, to plug a cable into a second network namespace")
    enter_namespace()
    parser = argparse.ArgumentParser(prog="network_latency", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    figures.run_benchmark(parser, measure, rows)
