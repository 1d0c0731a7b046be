"""Start queue: decides which attempt granted to this machine starts next, and which must be
returned to the master unstarted."""

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
_CLOSED_HERE: Final = "the job's run windows are closed according to this machine's clock"


class QueuedStart(NamedTuple):
    """An attempt removed from the queue, to be started now; or, with a `reason`, to be returned to
    the master with `reason` and `code`, and never started."""

    attempt: AgentAttempt
    reason: str = ""
    code: str = ""


class StartQueue:
    """Attempts that wait for their start: highest priority first, then lowest job id. The queue
    only decides; the attempt table carries out starts and returns."""

    def __init__(self) -> None:
        # Heap of (-priority, job id, attempt number). Entries of attempts that are no longer in
        # phase WAITING are not removed; pop() skips them.
        self._heap: list[tuple[int, int, int]] = []
        # Heap entries that pop() removed, but whose attempts cannot start now: they are frozen, or
        # their run windows do not permit another job.
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
        """Remove and return the next attempt that may start now or must never start. None if there
        is no such attempt.

        running_count: number of running attempts. with_terms: unended attempts that have a lease
        or run windows, to count the running attempts of a command.
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
                # Return the attempt, so that another machine can run it. The master granted it
                # while its run windows are closed here, so the two machines' clocks must differ.
                return QueuedStart(attempt, _CLOSED_HERE, HOURS_CLOSED)
            if attempt.freeze_requests or (
                hours is not None
                and not self._permits(attempt.terms.command, hours, running_count, with_terms, now)
            ):
                self._postponed.append(entry)
                continue
            return QueuedStart(attempt)
        return None

    def postpone(self, attempt: AgentAttempt) -> None:
        """Put back an attempt that pop() returned and that cannot start now."""
        self._postponed.append((-attempt.priority, *attempt.key))

    def requeue_postponed(self) -> None:
        """Put back the entries that pop() removed although their attempts could not start."""
        while self._postponed:
            heapq.heappush(self._heap, self._postponed.pop())

    def knows_zone(self, hours: Hours | None, now: Now) -> bool:
        """Return whether this machine's time zone database has the time zone of the run windows."""
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
        """Return whether the run windows permit one more running attempt of the command now.

        A level is the number of jobs that windows permit at an instant. The level of the machine's
        windows limits all running attempts; levels of the command's windows limit the running
        attempts of that command.
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
        """Return whether the run windows are closed and stay closed beyond the start-by time."""
        found = self._windows.find(hours, now.wall_ms)
        if found.is_open:
            return False
        left_ms = start_by_ms - now.steady_ms
        return found.opens_ms is None or found.opens_ms >= now.wall_ms + left_ms
