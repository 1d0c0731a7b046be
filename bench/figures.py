"""How figures are taken and shown: percentiles, the disk's fsync, tables, the main of a bench."""

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

from support import BenchError, note

Result = TypeVar("Result")


class Row(NamedTuple):
    """One line of a table. `met` is None where there is no bar."""

    figure: str
    measured: str
    baseline: str = "–"
    ratio: str = "–"
    bar: str = "–"
    met: bool | None = None


class Disk:
    """The time of a 512-byte append and fdatasync, each 100 times whenever `probe` is called."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "fsync"
        self._took_ms: list[float] = []

    def probe(self, times: int = 100) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(times):
                began = time.perf_counter()
                os.write(fd, bytes(512))
                os.fdatasync(fd)
                self._took_ms.append((time.perf_counter() - began) * 1000)
        finally:
            os.close(fd)

    @property
    def p50_ms(self) -> float:
        return statistics.median(self._took_ms)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least this share of all do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def starts_ns(stamps: Path) -> dict[str, int]:
    """What bench/stamp.c has written: the instant of each label."""
    lines = stamps.read_text().splitlines()
    return {label: int(ns) for label, ns in (line.split() for line in lines)}


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Result],
    rows: Callable[[Result], tuple[str, list[Row]]],
) -> None:
    """The main of a bench: measure, then print JSON or a table. Exits 1 if nothing was measured.

    A missed bar is a finding, not an error: it is told, and the exit code stays 0.
    """
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        result = measure(arguments)
    except BenchError as error:
        note("")
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        note("")
        print(f"{parser.prog}: interrupted; what it started has ended", file=sys.stderr)
        sys.exit(130)
    note("")
    if arguments.json:
        print(json.dumps(rounded(result)))
    else:
        title, lines = rows(result)
        print(title)
        show(lines)
        print(flush=True)


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)  # as an exception, so that everything is ended on the way out


def show(rows: list[Row]) -> None:
    lines = [("", "measured", "baseline", "ratio", "bar", "")]
    verdict = {None: "", True: "met", False: "MISSED"}
    lines += [(*row[:5], verdict[row.met]) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for figure, *others in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(others[:-1], widths[1:-1], strict=True)]
        print("  ".join(["", f"{figure:<{widths[0]}}", *cells, others[-1]]).rstrip())


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value
