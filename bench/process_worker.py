"""One measurement of process_bench.py in its own interpreter: process_worker.py KIND …

Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mythjobs.process import ALL, Exited, MythSystem, Process
from mythjobs.process.reaper.launch import find_socket_path, launch_reaper
from mythjobs.process.reaper.messages import LineReader, encode_line

WARM_UP = 200
TRUE = ["/bin/true"]
ENV = {"PATH": "/usr/bin:/bin"}
SNAPSHOTS = 20


def measure_spawns(jobs: int, in_flight: int, ballast_mb: int, contain: bool = False) -> float:
    """Return children per second, each started, read, reaped and checked by MythSystem."""
    # A write to each page makes it resident.
    ballast = bytearray(ballast_mb * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    system = MythSystem(TRUE, env=ENV, contain=contain)
    _run_children(system, WARM_UP, in_flight)
    start_s = time.monotonic()
    _run_children(system, jobs, in_flight)
    return jobs / (time.monotonic() - start_s)


def _run_children(system: MythSystem, jobs: int, in_flight: int) -> None:
    running: deque[Process] = deque()
    for _ in range(jobs):
        if len(running) >= in_flight:
            _wait_and_check(running.popleft())
        running.append(system.start())
    while running:
        _wait_and_check(running.popleft())


def _wait_and_check(process: Process) -> None:
    outcome = process.wait()
    if outcome != Exited(0):
        raise SystemExit(f"/bin/true: {outcome}")


def measure_reaper(jobs: int, in_flight: int, place: Path) -> float:
    """Return attempts per second through a reaper process, until the report of each end."""
    directory = place / "reaper"
    launch_reaper(
        directory, output=place / "output", scratch=place / "scratch", runtime=place / "runtime"
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(find_socket_path(directory)))
        reader = LineReader()
        _run_attempts(connection, reader, 1, WARM_UP, in_flight)
        start_s = time.monotonic()
        _run_attempts(connection, reader, 1 + WARM_UP, jobs, in_flight)
        rate = jobs / (time.monotonic() - start_s)
        connection.sendall(encode_line([{"type": "retire"}]))
        while connection.recv(2**20):
            pass
    return rate


def _run_attempts(
    connection: socket.socket, reader: LineReader, first: int, jobs: int, in_flight: int
) -> None:
    numbers = iter(range(first, first + jobs))
    ended = 0
    messages = [
        _start_message(number) for _, number in zip(range(in_flight), numbers, strict=False)
    ]
    while ended < jobs:
        if messages:
            connection.sendall(encode_line(messages))
        messages = []
        ends = []
        for each in reader.feed(connection.recv(2**20)):
            if each["type"] != "ended":
                continue
            if each["outcome"] != {"kind": "exited", "code": 0}:
                raise SystemExit(f"/bin/true: {each['outcome']}")
            ended += 1
            ends.append([each["job"], each["n"]])
            if (number := next(numbers, None)) is not None:
                messages.append(_start_message(number))
        if ends:
            messages.append({"type": "ack", "ends": ends})
    if messages:
        connection.sendall(encode_line(messages))


def _start_message(job: int) -> dict[str, Any]:
    return {
        "type": "start", "job": job, "n": 1, "argv": TRUE, "env": ENV, "cwd": "", "stdin": "",
        "streams": 2, "keep": [2**20, 2**20], "wall_s": None, "grace_s": 10.0, "watch": False,
        "scratch": False, "status": False,
    }  # fmt: skip


def measure_capture(megabytes: int, everything: bool) -> dict[str, float]:
    """Return MB per second read from a pipe, and the growth of the peak resident size."""
    MythSystem(["head", "-c", "1M", "/dev/zero"], keep=ALL).run()
    before_kb = _read_peak_kb()
    more: dict[str, Any] = {"keep": ALL} if everything else {}
    system = MythSystem(["head", "-c", f"{megabytes}M", "/dev/zero"], **more)
    start_s = time.monotonic()
    done = system.run()
    elapsed_s = time.monotonic() - start_s
    written = done.stdout.written_bytes
    if done.outcome != Exited(0) or written != megabytes * 2**20:
        raise SystemExit(f"head: {done.outcome}, {written} bytes captured")
    if everything and done.stdout.dropped_bytes:
        raise SystemExit(f"{done.stdout.dropped_bytes} bytes were dropped; check for a full disk")
    return {
        "mb_per_s": written / 1e6 / elapsed_s,
        "growth_mb": (_read_peak_kb() - before_kb) * 1024 / 1e6,
    }


def _read_peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def measure_usage(trees: int) -> float:
    """Return the time in ms to read the usage of all trees, each a shell with a child."""
    running = [MythSystem.shell("sleep 600 & wait").start() for _ in range(trees)]
    try:
        for each in running:
            while each.usage().processes < 2:
                pass
        durations_ms = []
        for _ in range(SNAPSHOTS):
            start_s = time.perf_counter()
            for each in running:
                each.usage()
            durations_ms.append((time.perf_counter() - start_s) * 1000)
        return statistics.median(durations_ms)
    finally:
        _stop_all(running)


def measure_idle(children: int, for_s: float) -> float:
    """Return the CPU seconds per minute of this process while all its children sleep."""
    running = [MythSystem(["sleep", "600"]).start() for _ in range(children)]
    try:
        if any(each.pid is None for each in running):
            raise SystemExit(f"could not start {children} children")
        time.sleep(1.0)
        before = time.process_time()
        time.sleep(for_s)
        return (time.process_time() - before) * 60 / for_s
    finally:
        _stop_all(running)


def _stop_all(running: list[Process]) -> None:
    for each in running:
        each.stop(grace_s=0)
    for each in running:
        each.wait()


def main() -> None:
    kind, *numbers = sys.argv[1:]
    measures: dict[str, Callable[[], object]] = {
        "thread": lambda: measure_spawns(int(numbers[0]), int(numbers[1]), int(numbers[2])),
        "contained": lambda: measure_spawns(int(numbers[0]), int(numbers[1]), 0, contain=True),
        "process": lambda: measure_reaper(int(numbers[0]), int(numbers[1]), Path(numbers[2])),
        "capture": lambda: measure_capture(int(numbers[0]), numbers[1] == "all"),
        "usage": lambda: measure_usage(int(numbers[0])),
        "idle": lambda: measure_idle(int(numbers[0]), float(numbers[1])),
    }
    print(json.dumps(measures[kind]()), flush=True)


if __name__ == "__main__":
    main()
    # Nothing is left to stop; skip freeing the ballast.
    os._exit(0)
