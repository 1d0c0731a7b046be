"""What is to be done with attempts at which instant, whoever is there to ask for it or not."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from mythjobs.process.kernel import BootTimer
from mythjobs.process.procfs import Key
from mythjobs.process.supervise.loop import Loop, log_exception

STOP: Final = "stop"
FREEZE: Final = "freeze"
THAW: Final = "thaw"
_FEW: Final = 1024


class Act(NamedTuple):
    """`boot_ms` is an instant of CLOCK_BOOTTIME; `by` says who, and holds what it freezes."""

    boot_ms: int
    act: str
    by: str
    grace_s: float


def read_acts(given: Iterable[Iterable[Any]]) -> list[Act]:
    """From a message. Raises TypeError and ValueError."""
    acts = []
    for boot_ms, act, by, grace_s in given:
        if act not in (STOP, FREEZE, THAW):
            raise ValueError(f"an unknown act: {act!r}")
        acts.append(Act(int(boot_ms), act, str(by), float(grace_s)))
    return sorted(acts)


class Acts:
    """One timer for all; it runs only while an act is to come."""

    def __init__(self, loop: Loop, carry_out: Callable[[Key, Act], None]) -> None:
        self._loop = loop
        self._carry_out = carry_out
        self._timer = BootTimer()
        self._armed_ms: int | None = None
        self._of: dict[Key, list[Act]] = {}
        # An entry whose list is no longer that of its attempt was replaced.
        self._heap: list[tuple[int, int, Key, list[Act]]] = []
        self._most = _FEW
        self._numbers = itertools.count()
        loop.watch(self._timer.fd, self._due)

    def replace(self, key: Key, acts: list[Act]) -> None:
        """Instead of all that was to be done with it. What is late is done this turn."""
        self._of.pop(key, None)
        if acts:
            self._of[key] = acts
            self._push(key, acts)
            if len(self._heap) > self._most:
                self._forget_replaced()
        self._arm()

    def forget(self, key: Key) -> None:
        """Its entry is passed over when it comes up; the timer is not set anew for that."""
        self._of.pop(key, None)

    def close(self) -> None:
        self._loop.unwatch(self._timer.fd)
        self._timer.close()

    def _push(self, key: Key, acts: list[Act]) -> None:
        heapq.heappush(self._heap, (acts[0].boot_ms, next(self._numbers), key, acts))

    def _forget_replaced(self) -> None:
        self._heap = [each for each in self._heap if self._of.get(each[2]) is each[3]]
        heapq.heapify(self._heap)
        self._most = 2 * len(self._heap) + _FEW

    def _due(self) -> None:
        self._timer.take()
        self._armed_ms = None
        now_ms = self._loop.now.steady_ms
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, key, acts = heapq.heappop(self._heap)
            if self._of.get(key) is not acts:
                continue
            act = acts.pop(0)
            if acts:
                self._push(key, acts)
            else:
                del self._of[key]
            try:
                self._carry_out(key, act)
            except Exception:
                # It must not cost the others theirs: this timer is for all of them.
                log_exception()
        self._arm()

    def _arm(self) -> None:
        while self._heap and self._of.get(self._heap[0][2]) is not self._heap[0][3]:
            heapq.heappop(self._heap)
        due_ms = self._heap[0][0] if self._heap else None
        if due_ms != self._armed_ms:
            self._armed_ms = due_ms
            self._timer.set(due_ms)
