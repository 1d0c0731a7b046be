"""Timed actions: the reaper stops, freezes or thaws attempts at instants that the agent has given,
even while no agent runs."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from mythjobs.process.event_loop import EventLoop, log_exception
from mythjobs.process.kernel import BootTimer
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper.numbers import read_integer, read_number

STOP: Final = "stop"
FREEZE: Final = "freeze"
THAW: Final = "thaw"
_MIN_HEAP: Final = 1024


class TimedAction(NamedTuple):
    """Action `kind` (stop, freeze or thaw) at the instant `boot_ms` of CLOCK_BOOTTIME. `by` is the
    reason of a stop, or the holder of a freeze."""

    boot_ms: int
    kind: str
    by: str
    grace_s: float


def parse_timed_actions(given: Iterable[Iterable[Any]]) -> list[TimedAction]:
    """Return the timed actions in a message, earliest first. Raises ValueError."""
    actions = []
    try:
        for boot_ms, kind, by, grace_s in given:
            if kind not in (STOP, FREEZE, THAW):
                raise ValueError(f"unknown timed action {kind!r:.50}")
            at_ms, grace_s = read_integer("the time", boot_ms), read_number("the grace", grace_s, 0)
            actions.append(TimedAction(at_ms, kind, str(by), grace_s))
    except (TypeError, ValueError) as error:
        raise ValueError(f"acts: {error}") from None
    return sorted(actions)


class TimedActions:
    """Performs the timed actions of all attempts, with one timer that is armed for the earliest."""

    def __init__(
        self,
        loop: EventLoop,
        timer: BootTimer,
        perform: Callable[[AttemptKey, TimedAction], None],
    ) -> None:
        self._loop = loop
        self._perform = perform
        self._timer = timer
        self._armed_ms: int | None = None
        self._by_attempt: dict[AttemptKey, list[TimedAction]] = {}
        # Entries (instant of the first action, tie breaker, key, actions). An entry whose list is
        # no longer the one in _by_attempt is stale and is skipped.
        self._heap: list[tuple[int, int, AttemptKey, list[TimedAction]]] = []
        self._max_heap = _MIN_HEAP
        self._numbers = itertools.count()
        loop.watch(self._timer.fd, self._perform_due)

    def replace(self, key: AttemptKey, actions: list[TimedAction]) -> None:
        """Replace all timed actions of an attempt. Overdue actions are performed in the same or the
        next iteration of the event loop."""
        self._by_attempt.pop(key, None)
        if actions:
            self._by_attempt[key] = actions
            self._push(key, actions)
            if len(self._heap) > self._max_heap:
                self._compact()
        self._arm()

    def discard(self, key: AttemptKey) -> None:
        """Forget the actions of an ended attempt. Its heap entry, now stale, is removed when its
        instant has come."""
        self._by_attempt.pop(key, None)

    def close(self) -> None:
        self._loop.unwatch(self._timer.fd)
        self._timer.close()

    def _push(self, key: AttemptKey, actions: list[TimedAction]) -> None:
        heapq.heappush(self._heap, (actions[0].boot_ms, next(self._numbers), key, actions))

    def _compact(self) -> None:
        self._heap = [each for each in self._heap if self._by_attempt.get(each[2]) is each[3]]
        heapq.heapify(self._heap)
        self._max_heap = 2 * len(self._heap) + _MIN_HEAP

    def _perform_due(self) -> None:
        self._timer.acknowledge()
        self._armed_ms = None
        now_ms = self._loop.now.steady_ms
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, key, actions = heapq.heappop(self._heap)
            if self._by_attempt.get(key) is not actions:
                continue
            action = actions.pop(0)
            if actions:
                self._push(key, actions)
            else:
                del self._by_attempt[key]
            try:
                self._perform(key, action)
            except Exception:
                # Log the error and go on: this timer also serves the actions of other attempts.
                log_exception()
        self._arm()

    def _arm(self) -> None:
        while self._heap and self._by_attempt.get(self._heap[0][2]) is not self._heap[0][3]:
            heapq.heappop(self._heap)
        due_ms = self._heap[0][0] if self._heap else None
        if due_ms != self._armed_ms:
            self._armed_ms = due_ms
            self._timer.arm(due_ms)
