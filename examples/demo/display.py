"""Progress bars on a terminal; elsewhere a line when something changed, every few seconds."""

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
        self._terminal = sys.stdout.isatty()
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, Row] = {}
        self._told_s = 0.0

    def __enter__(self) -> "Display":
        if self._terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._terminal:
            self._bars.stop()

    def show(self, rows: Sequence[Row]) -> None:
        if self._terminal:
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
        due = time.monotonic() - self._told_s >= every_s
        for row in rows:
            told = self._told.get(row.name)
            if told is None or told.state != row.state or (due and told != row):
                percent = "" if row.percent is None else f"  {row.percent:.0f} %"
                print(f"{row.name:<22}  {row.state}{percent}", flush=True)
                self._told[row.name] = row
                self._told_s = time.monotonic()
