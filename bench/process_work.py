"""What process_bench.py measures, each in an interpreter of its own: process_work.py KIND …

Prints one line of JSON. Not for people: they run process_bench.py.
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


def spawned(jobs: int, in_flight: int, ballast_mb: int, contain: bool = False) -> float:
    """Children a second, through the class: started, both pipes read, reaped, looked at."""
    # Touched page by page, so that it is resident.
    ballast = bytearray(ballast_mb * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    system = MythSystem(TRUE, env=ENV, contain=contain)
    _run_through(system, WARM_UP, in_flight)
    began = time.monotonic()
    _run_through(system, jobs, in_flight)
    return jobs / (time.monotonic() - began)


def _run_through(system: MythSystem, jobs: int, in_flight: int) -> None:
    flying: deque[Process] = deque()
    for _ in range(jobs):
        if len(flying) >= in_flight:
            _check(flying.popleft())
        flying.append(system.start())
    while flying:
        _check(flying.popleft())


def _check(process: Process) -> None:
    outcome = process.wait()
    if outcome != Exited(0):
        raise SystemExit(f"/bin/true: {outcome}")


def reaped(jobs: int, in_flight: int, place: Path) -> float:
    """The same through a reaper's process, as the agent does it, up to the news of each end."""
    directory = place / "reaper"
    launch_reaper(
        directory, output=place / "output", scratch=place / "scratch", runtime=place / "runtime"
    )
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(find_socket_path(directory)))
        reader = LineReader()
        _feed(link, reader, 1, WARM_UP, in_flight)
        began = time.monotonic()
        _feed(link, reader, 1 + WARM_UP, jobs, in_flight)
        rate = jobs / (time.monotonic() - began)
        link.sendall(encode_line([{"type": "retire"}]))
        while link.recv(2**20):
            pass
    return rate


def _feed(link: socket.socket, reader: LineReader, first: int, jobs: int, in_flight: int) -> None:
    numbers = iter(range(first, first + jobs))
    over = 0
    told = [_start(number) for _, number in zip(range(in_flight), numbers, strict=False)]
    while over < jobs:
        if told:
            link.sendall(encode_line(told))
        told = []
        ends = []
        for each in reader.feed(link.recv(2**20)):
            if each["type"] != "ended":
                continue
            if each["outcome"] != {"kind": "exited", "code": 0}:
                raise SystemExit(f"/bin/true: {each['outcome']}")
            over += 1
            ends.append([each["job"], each["n"]])
            if (number := next(numbers, None)) is not None:
                told.append(_start(number))
        if ends:
            told.append({"type": "ack", "ends": ends})
    if told:
        link.sendall(encode_line(told))


def _start(job: int) -> dict[str, Any]:
    return {
        "type": "start", "job": job, "n": 1, "argv": TRUE, "env": ENV, "cwd": "", "stdin": "",
        "streams": 2, "keep": [2**20, 2**20], "wall_s": None, "grace_s": 10.0, "watch": False,
        "scratch": False, "status": False,
    }  # fmt: skip


def captured(megabytes: int, everything: bool) -> dict[str, float]:
    """MB a second out of a pipe, and by how much our largest resident size grew with it."""
    MythSystem(["head", "-c", "1M", "/dev/zero"], keep=ALL).run()
    before_kb = _peak_kb()
    more: dict[str, Any] = {"keep": ALL} if everything else {}
    system = MythSystem(["head", "-c", f"{megabytes}M", "/dev/zero"], **more)
    began = time.monotonic()
    done = system.run()
    took_s = time.monotonic() - began
    written = done.stdout.written_bytes
    if done.outcome != Exited(0) or written != megabytes * 2**20:
        raise SystemExit(f"head: {done.outcome}, {written} bytes captured")
    if everything and done.stdout.dropped_bytes:
        raise SystemExit(f"{done.stdout.dropped_bytes} bytes were dropped; is the disk full?")
    return {
        "mb_per_s": written / 1e6 / took_s,
        "growth_mb": (_peak_kb() - before_kb) * 1024 / 1e6,
    }


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def snapshot_ms(trees: int) -> float:
    """The usage of so many running trees, a shell and its child each, all at once."""
    running = [MythSystem.shell("sleep 600 & wait").start() for _ in range(trees)]
    try:
        for each in running:
            while each.usage().processes < 2:
                pass
        took_ms = []
        for _ in range(SNAPSHOTS):
            began = time.perf_counter()
            for each in running:
                each.usage()
            took_ms.append((time.perf_counter() - began) * 1000)
        return statistics.median(took_ms)
    finally:
        _end(running)


def idle(children: int, for_s: float) -> float:
    """CPU seconds of this process in a minute in which all its children sleep."""
    running = [MythSystem(["sleep", "600"]).start() for _ in range(children)]
    try:
        if any(each.pid is None for each in running):
            raise SystemExit(f"not all of {children} children could be started")
        time.sleep(1.0)
        before = time.process_time()
        time.sleep(for_s)
        return (time.process_time() - before) * 60 / for_s
    finally:
        _end(running)


def _end(running: list[Process]) -> None:
    for each in running:
        each.stop(grace_s=0)
    for each in running:
        each.wait()


def main() -> None:
    kind, *numbers = sys.argv[1:]
    measures: dict[str, Callable[[], object]] = {
        "thread": lambda: spawned(int(numbers[0]), int(numbers[1]), int(numbers[2])),
        "contained": lambda: spawned(int(numbers[0]), int(numbers[1]), 0, contain=True),
        "process": lambda: reaped(int(numbers[0]), int(numbers[1]), Path(numbers[2])),
        "capture": lambda: captured(int(numbers[0]), numbers[1] == "all"),
        "usage": lambda: snapshot_ms(int(numbers[0])),
        "idle": lambda: idle(int(numbers[0]), float(numbers[1])),
    }
    print(json.dumps(measures[kind]()), flush=True)


if __name__ == "__main__":
    main()
    # Nothing is left to be ended, and a ballast need not be given back piece by piece.
    os._exit(0)
