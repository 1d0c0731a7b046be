"""Starts: which attempts start now, and which ones the reaper starts when others end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from mythjobs.agent.core.attempt import AgentAttempt, Key, Phase
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.agent.core.lease_terms import NO_TERMS, compute_reaper_actions
from mythjobs.agent.core.start_message import build_start_message
from mythjobs.agent.core.turn import AgentTurn
from mythjobs.clock import Now
from mythjobs.protocol.run_spec import RunSpec
from mythjobs.scheduler.capacity import free_slots

# Number of waiting attempts that the gate may refuse before the others are not tried, either: they
# are mostly of the same commands.
_MAX_REFUSED: Final = 8
# Priority of jobs on a machine that scales automatically, if neither command nor machine sets one.
_BACKGROUND: Final = {"nice": 19, "io": "idle"}


class StartGate(Protocol):
    """Decides by the load of the machine which attempts may start (agent/scaler.py)."""

    def admit(self, key: Key, command: str, now: Now, /) -> bool:
        """Return whether an attempt may start now; if so, it counts as running."""

    def count_running(self, key: Key, command: str, now: Now, /) -> None:
        """Count an attempt as running that follows another one of as little load."""

    def is_short(self, command: str, /) -> bool:
        """Return whether the command's jobs end before their priority matters."""

    def can_follow(self, command: str, /) -> bool:
        """Return whether the reaper may start attempts of a command whenever others end, although
        admit() was not called for each."""

    def count_followed(self) -> int:
        """Return how many such attempts the reaper may have."""

    def set_background(self, key: Key, nice: int, /) -> None: ...


class Starts:
    """Part of the agent core that sends starts to the reaper."""

    def __init__(
        self,
        table: AttemptTable,
        turn: AgentTurn,
        base_env: Mapping[str, str],
        gate: StartGate | None,
    ) -> None:
        self._table = table
        self._turn = turn
        self._base_env = base_env
        self._gate = gate

    def start_waiting(self, now: Now) -> None:
        """Start waiting attempts, highest priority first, while slots are free. Send the reaper the
        starts that follow."""
        table = self._table
        table.refused = {}
        if table.waiting_count and not table.control.accepts_jobs:
            self._return_waiting("drained" if table.control.is_drained else "paused")
        if table.next and self._must_recall(now):
            table.next.recall()
        if table.start_reaper is None or not (table.waiting_count or table.next):
            return
        self._start_in_free_slots(table.start_reaper, now)
        if table.running_count == table.max_running:
            self._send_next(table.start_reaper, now)
        table.start_queue.requeue_postponed()

    def _start_in_free_slots(self, reaper: str, now: Now) -> None:
        """Start what the gate admits. Once as many short attempts run as may, send the starts of
        others ahead; long ones may still start."""
        table, gate = self._table, self._gate
        refused, is_short_full = 0, False
        while refused < _MAX_REFUSED and free_slots(table.max_running, table.running_count):
            if table.next.is_recalled:
                return  # the reaper's answer says which attempts wait
            if not is_short_full and (first := table.next.find_first()):
                if gate is None or gate.admit(first.key, first.command, now):
                    # The attempt that it was to follow had ended before the reaper got this start.
                    table.mark_next_started(first)
                    self._repeat_start(first, now)
                    continue
                is_short_full = gate.can_follow(first.command)
                if not is_short_full:
                    return
            found = self._pop(now)
            if found is None:
                return
            attempt, run = found
            if gate is None or gate.admit(attempt.key, attempt.command, now):
                table.mark_starting(attempt, reaper)
                self._send_start(attempt, run, now)
            elif gate.can_follow(attempt.command):
                is_short_full = True
                if not self._send_ahead(attempt, run, reaper):
                    return
            else:
                table.start_queue.postpone(attempt)
                refused += 1
                if not gate.is_short(attempt.command):
                    table.refused[attempt.key] = attempt.command

    def _pop(self, now: Now) -> tuple[AgentAttempt, RunSpec] | None:
        """Remove the next attempt from the start queue. Mark those before it that must not start
        any more."""
        table = self._table
        while found := table.start_queue.pop(
            table.attempts, table.running_count, table.with_terms, now
        ):
            attempt, run = found.attempt, found.attempt.run
            if not found.reason and run is not None:
                return attempt, run
            table.mark_never_start(attempt, found.reason, found.code)
        return None

    def _return_waiting(self, state: str) -> None:
        """Return all waiting attempts to the master, so that they can start elsewhere."""
        for attempt in self._table.attempts.values():
            if attempt.phase is Phase.WAITING:
                self._table.mark_never_start(attempt, f"the machine is {state}")

    def _must_recall(self, now: Now) -> bool:
        table, gate = self._table, self._gate
        return (
            not table.control.accepts_jobs
            or table.running_count > table.max_running
            or table.next.is_late(now.steady_ms)
            or (gate is not None and not all(map(gate.can_follow, table.next.commands)))
        )

    def _send_next(self, reaper: str, now: Now) -> None:
        """Send the reaper starts for when attempts end."""
        while self._table.waiting_count and (found := self._pop(now)):
            if not self._send_ahead(*found, reaper):
                return

    def _send_ahead(self, attempt: AgentAttempt, run: RunSpec, reaper: str) -> bool:
        """Send the reaper a start for when an attempt ends. Return False, and put the attempt back,
        if that is not possible now; those behind it must not start before it.

        There is one for each slot. With a gate, only attempts that it need not admit one by one
        are sent ahead, and one for each of these that runs.
        """
        table, gate = self._table, self._gate
        if table.next.must_follow(attempt):
            table.next.recall()
        limit = table.max_running
        if gate is not None:
            can_follow = gate.can_follow(attempt.command)
            limit = min(limit, gate.count_followed()) if can_follow else 0
        if attempt.terms is not NO_TERMS or not table.next.has_room(limit):
            table.start_queue.postpone(attempt)
            return False
        table.mark_next(attempt, reaper)
        message = build_start_message(attempt.key, run, self._base_env)
        self._turn.send(reaper, {**message, "start_by_ms": attempt.start_by_ms})
        return True

    def count_next(self, keys: set[Key], now: Now) -> None:
        """Have the gate count attempts that the reaper has started, unless they have ended."""
        for key in keys:
            attempt = self._table.attempts.get(key)
            if self._gate and attempt and attempt.phase in (Phase.STARTING, Phase.RUNNING):
                self._gate.count_running(key, attempt.command, now)

    def repeat_starts(self, reaper: str, reported: set[Key], now: Now) -> None:
        """Send again the starts that a reaper, which has just connected, does not report: they may
        have been lost with the old connection. It ignores the start of an attempt that it knows."""
        for attempt in self._table.find_attempts_of(reaper):
            if attempt.phase is Phase.STARTING and attempt.key not in reported:
                self._repeat_start(attempt, now)

    def _repeat_start(self, attempt: AgentAttempt, now: Now) -> None:
        if attempt.run is not None:
            self._send_start(attempt, attempt.run, now)

    def _send_start(self, attempt: AgentAttempt, run: RunSpec, now: Now) -> None:
        if self._gate and not self._gate.is_short(attempt.command):
            if not run.has_priority:
                run = msgspec.structs.replace(run, **_BACKGROUND)
            if run.nice:
                self._gate.set_background(attempt.key, run.nice)
        has_terms = attempt in self._table.with_terms
        actions = compute_reaper_actions(attempt.terms, now) if has_terms else []
        message = build_start_message(attempt.key, run, self._base_env, actions)
        self._turn.send(attempt.reaper, message)
