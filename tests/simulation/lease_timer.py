"""Simulated lease timer: model of master/link/lease_timer.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.simulator import ScheduledCall

if TYPE_CHECKING:
    from tests.simulation.master import MasterProcess

_READING_MS: Final = 500


class SimLeaseTimer:
    def __init__(self, process: MasterProcess, on_due: Callable[[int], None]) -> None:
        self._process = process
        self._on_due = on_due
        self._due_ms: int | None = None
        self._timer: ScheduledCall | None = None
        self._is_reading = False
        self._was_stalled = False

    def set_due(self, due_ms: int | None) -> None:
        if due_ms == self._due_ms and (self._timer or self._is_reading):
            return
        self._due_ms = due_ms
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is not None and not self._is_reading:
            self._timer = self._process.call_at_steady(due_ms, self._fire)

    def on_resume(self) -> None:
        self._was_stalled = True

    def _fire(self) -> None:
        self._timer = None
        self._is_reading = True
        self._read_pending_frames(self._process.steady_ms())

    def _read_pending_frames(self, fired_ms: int) -> None:
        self._was_stalled = False
        self._process.call_later(_READING_MS, self._finish_reading, fired_ms)

    def _finish_reading(self, fired_ms: int) -> None:
        if self._was_stalled:
            self._read_pending_frames(fired_ms)
            return
        self._is_reading = False
        due_ms, self._due_ms = self._due_ms, None
        self._on_due(fired_ms)
        self.set_due(due_ms if due_ms is not None and due_ms > fired_ms else None)
