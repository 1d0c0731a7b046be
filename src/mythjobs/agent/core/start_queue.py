"""Start queue: which of the attempts granted to this machine starts next, and which never may."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mythjobs.agent.core.attempt import AgentAttempt, Key, Phase
from mythjobs.clock import Now
from mythjobs.model.window import Hours
from mythjobs.protocol.messages import HOURS_CLOSED
from mythjobs.scheduler.window_state import WindowStateCache

START_BY_PASSED: Final = "the job could not be started before its start-by time"
_CLOSED_HERE: Final = "the job's hours are closed by this machine's clock"


class QueuedStart(NamedTuple):
    """An attempt removed from the queue. With a `reason` it must never start."""

    attempt: AgentAttempt
    reason: str = ""
    code: str = ""


class StartQueue:
    """Waiting attempts, highest priority first, then the lowest job number. Decides only."""

    def __init__(self) -> None:
        # Heap of (-priority, job, n). Entries that are no longer WAITING are skipped.
        self._heap: list[tuple[int, int, int]] = []
        # Removed by pop(), but not startable at present.
        self._postponed: list[tuple[int, int, int]] = []
        self._windows = WindowStateCache()

    def push(self, attempt: AgentAttempt) -> None:
        heapq.heappush(self._heap, (-attempt.priority, *attempt.key))

    def pop(
        self,
        attempts: Mapping[Key, AgentAttempt],
        running_count: int,
        with_terms: Iterable[AgentAttempt],
        now: Now,
    ) -> QueuedStart | None:
        """Remove and return the next attempt that may start or must never start, None if none.

        running_count: all running attempts. with_terms: attempts that have a lease or hours.
        """
        while self._heap:
            entry = heapq.heappop(self._heap)
            attempt = attempts.get(entry[1:])
            if attempt is None or attempt.phase is not Phase.WAITING or attempt.run is None:
                continue
            if now.steady_ms >= attempt.start_by_ms:
                return QueuedStart(attempt, START_BY_PASSED)
            hours = attempt.terms.hours
            if hours is not None and self._opens_too_late(hours, attempt.start_by_ms, now):
                # The master's clock differs. Another machine may run the job meanwhile.
                return QueuedStart(attempt, _CLOSED_HERE, HOURS_CLOSED)
            if attempt.freeze_requests or (
                hours is not None
                and not self._permits(attempt.terms.command, hours, running_count, with_terms, now)
            ):
                self._postponed.append(entry)
                continue
            return QueuedStart(attempt)
        return None

    def requeue_postponed(self) -> None:
        """Make attempts that pop() passed over candidates of the next pass."""
        while self._postponed:
            heapq.heappush(self._heap, self._postponed.pop())

    def knows_zone(self, hours: Hours | None, now: Now) -> bool:
        """Return whether this machine's time zone database has the zone of the hours."""
        try:
            return hours is None or bool(self._windows.find(hours, now.wall_ms))
        except ValueError:
            return False

    def _permits(
        self,
        command: str,
        hours: Hours,
        running_count: int,
        with_terms: Iterable[AgentAttempt],
        now: Now,
    ) -> bool:
        """Return whether the levels of the windows allow one more attempt of the command.

        The level of the machine's hours counts all running attempts; levels of the command's
        hours count the running attempts of that command.
        """
        levels = self._windows.find(hours, now.wall_ms)
        if not levels.is_open or running_count >= levels.machine_level:
            return False
        running = sum(
            each.phase in (Phase.STARTING, Phase.RUNNING) and each.terms.command == command
            for each in with_terms
        )
        return running < min(levels.command_level, levels.shared_level)

    def _opens_too_late(self, hours: Hours, start_by_ms: int, now: Now) -> bool:
        """Return whether the hours are closed and stay closed past the start-by time."""
        found = self._windows.find(hours, now.wall_ms)
        if found.is_open:
            return False
        left_ms = start_by_ms - now.steady_ms
        return found.opens_ms is None or found.opens_ms >= now.wall_ms + left_ms
