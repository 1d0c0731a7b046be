"""When machines that are silent are given up, as master/link/lease_timer.py has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.world import Event

if TYPE_CHECKING:
    from tests.simulation.master import Process

_READING_MS: Final = 500


class Patience:
    def __init__(self, process: Process, tick: Callable[[int], None]) -> None:
        self._process = process
        self._tick = tick
        self._due_ms: int | None = None
        self._timer: Event | None = None
        self._reading = False
        self._stood_still = False

    def until(self, due_ms: int | None) -> None:
        if due_ms == self._due_ms and (self._timer or self._reading):
            return
        self._due_ms = due_ms
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is not None and not self._reading:
            self._timer = self._process.at_steady(due_ms, self._ring)

    def stood_still(self) -> None:
        self._stood_still = True

    def _ring(self) -> None:
        self._timer = None
        self._reading = True
        self._read(self._process.steady())

    def _read(self, read_ms: int) -> None:
        self._stood_still = False
        self._process.later(_READING_MS, self._was_read, read_ms)

    def _was_read(self, read_ms: int) -> None:
        if self._stood_still:
            self._read(read_ms)
            return
        self._reading = False
        due_ms, self._due_ms = self._due_ms, None
        self._tick(read_ms)
        self.until(due_ms if due_ms is not None and due_ms > read_ms else None)
