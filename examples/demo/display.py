"""Progress display: bars on a terminal, otherwise a line for changes, every few seconds."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn


class Row(NamedTuple):
    name: str
    state: str
    percent: float | None


class Display:
    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, Row] = {}
        self._printed_s = 0.0

    def __enter__(self) -> "Display":
        if self._is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._bars.stop()

    def show(self, rows: Sequence[Row]) -> None:
        if self._is_terminal:
            self._draw(rows)
        else:
            self._print(rows)

    def _draw(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.name not in self._tasks:
                self._tasks[row.name] = self._bars.add_task(row.name, total=100, state=row.state)
            percent = 100.0 if row.state == "succeeded" else row.percent or 0.0
            self._bars.update(self._tasks[row.name], completed=percent, state=row.state)

    def _print(self, rows: Sequence[Row], every_s: float = 5.0) -> None:
        due = time.monotonic() - self._printed_s >= every_s
        for row in rows:
            printed = self._printed.get(row.name)
            if printed is None or printed.state != row.state or (due and printed != row):
                percent = "" if row.percent is None else f"  {row.percent:.0f} %"
                print(f"{row.name:<22}  {row.state}{percent}", flush=True)
                self._printed[row.name] = row
                self._printed_s = time.monotonic()
