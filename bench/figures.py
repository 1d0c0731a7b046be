"""Percentiles, fsync times, tables, and the main function of the benchmarks."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from support import BenchError, show_progress

Result = TypeVar("Result")


class Row(NamedTuple):
    """One line of a table. `is_met` is None without a bar."""

    figure: str
    measured: str
    baseline: str = "–"
    ratio: str = "–"
    bar: str = "–"
    is_met: bool | None = None


class DiskProbe:
    """Measures the time of appending 512 bytes with fdatasync."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "fsync"
        self._durations_ms: list[float] = []

    def measure(self, times: int = 100) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(times):
                start_s = time.perf_counter()
                os.write(fd, bytes(512))
                os.fdatasync(fd)
                self._durations_ms.append((time.perf_counter() - start_s) * 1000)
        finally:
            os.close(fd)

    @property
    def p50_ms(self) -> float:
        return statistics.median(self._durations_ms)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def read_start_times(stamps: Path) -> dict[str, int]:
    """Return the time of each label in a file written by stamp.c."""
    lines = stamps.read_text().splitlines()
    return {label: int(ns) for label, ns in (line.split() for line in lines)}


def run_benchmark(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Result],
    rows: Callable[[Result], tuple[str, list[Row]]],
) -> None:
    """Measure, then print JSON or a table. Exit with 1 if nothing could be measured.

    A missed bar is printed, but is not an error: the exit code is 0.
    """

    def show(result: Result) -> None:
        title, lines = rows(result)
        print(title)
        print_table(lines)

    run_program(parser, measure, show)


def run_program(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Result],
    show: Callable[[Result], None],
) -> None:
    """Measure, then print JSON or what `show` prints. Exit with 1 if nothing could be measured."""
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, _exit_on_signal)
    try:
        result = measure(arguments)
    except BenchError as error:
        show_progress("")
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        show_progress("")
        print(f"{parser.prog}: interrupted; all started processes have ended", file=sys.stderr)
        sys.exit(130)
    show_progress("")
    if arguments.json:
        print(json.dumps(round_floats(result)))
    else:
        show(result)
        print(flush=True)


def _exit_on_signal(number: int, _frame: object) -> None:
    sys.exit(128 + number)  # an exception, so that context managers end all processes


def print_table(rows: list[Row]) -> None:
    lines = [("", "measured", "baseline", "ratio", "bar", "")]
    verdict = {None: "", True: "met", False: "MISSED"}
    lines += [(*row[:5], verdict[row.is_met]) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for figure, *others in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(others[:-1], widths[1:-1], strict=True)]
        print("  ".join(["", f"{figure:<{widths[0]}}", *cells, others[-1]]).rstrip())


def round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: round_floats(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [round_floats(each) for each in value]
    return value
