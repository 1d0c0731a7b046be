"""Admission: this machine's attempts, their start queue, and every change of their phase."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from mythjobs.agent.core.attempt import AgentAttempt, Key, Phase
from mythjobs.agent.core.lease_terms import LeaseTerms, compute_reaper_actions, terms_from_grant
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.start_message import build_start_message
from mythjobs.agent.core.status import JobStatus
from mythjobs.agent.core.turn import AgentTurn, DeleteOutput, ReadNewOutput, RemoveReaper
from mythjobs.clock import Now
from mythjobs.model.window import Hours
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease_timing import start_deadline_ms
from mythjobs.protocol.messages import HOURS_CLOSED
from mythjobs.scheduler.capacity import free_slots
from mythjobs.scheduler.window_state import WindowStateCache

START_BY_PASSED: Final = "the job could not be started before its start-by time"
_CLOSED_HERE: Final = "the job's hours are closed by this machine's clock"


class WindowCounts(WindowStateCache):
    """Running limits of windows."""

    def permits(
        self, terms: LeaseTerms, running_count: int, running_commands: Iterable[str], wall_ms: int
    ) -> bool:
        """Return whether the hours allow one more attempt of this command to run.

        The level of the machine's hours counts all running attempts; levels of the command's
        hours count `running_commands`, the commands of attempts that have terms.
        """
        if terms.hours is None:
            return True
        levels = self.find(terms.hours, wall_ms)
        if not levels.is_open or running_count >= levels.machine_level:
            return False
        least = min(levels.command_level, levels.shared_level)
        return sum(each == terms.command for each in running_commands) < least


class Admission:
    """Part of the core. Adds actions to `turn` and messages for the master to `outbox`."""

    def __init__(self, base_env: Mapping[str, str], turn: AgentTurn, outbox: Outbox) -> None:
        self._base_env = base_env
        self._turn = turn
        self._outbox = outbox
        self.attempts: dict[Key, AgentAttempt] = {}
        # Heap of (-priority, job, n). Entries that are no longer WAITING are skipped.
        self._queue: list[tuple[int, int, int]] = []
        self._waiting_count = 0
        self.running_count = 0
        self.max_running = 0
        # The reaper that gets new starts.
        self.start_reaper: str | None = None
        # By reaper: ends that are not yet durable, sorted by seq.
        self._unsynced_ends: dict[str, deque[tuple[int, AgentAttempt]]] = {}
        # By dead reaper: attempts in its journal that are not forgotten yet.
        self._dead_reapers: dict[str, set[Key]] = {}
        # Attempts with a lease or hours, and those with a lease.
        self.with_terms: dict[AgentAttempt, None] = {}
        self.with_lease: dict[AgentAttempt, None] = {}
        self._windows = WindowCounts()

    def add_attempt(self, key: Key, phase: Phase) -> AgentAttempt:
        attempt = self.attempts[key] = AgentAttempt(key, phase)
        return attempt

    def find_attempts_of(self, reaper: str) -> Iterable[AgentAttempt]:
        return [each for each in self.attempts.values() if each.reaper == reaper]

    @property
    def open_slots(self) -> int:
        """How many more grants would start immediately."""
        return free_slots(self.max_running, self.running_count + self._waiting_count)

    def set_terms(self, attempt: AgentAttempt, terms: LeaseTerms) -> None:
        attempt.terms = terms
        self._clear_terms(attempt)
        if terms.lease_s is not None or terms.hours is not None:
            self.with_terms[attempt] = None
        if terms.lease_s is not None:
            self.with_lease[attempt] = None

    def _clear_terms(self, attempt: AgentAttempt) -> None:
        self.with_terms.pop(attempt, None)
        self.with_lease.pop(attempt, None)

    def knows_zone(self, hours: Hours | None, now: Now) -> bool:
        """Return whether this machine's time zone database has the zone of the hours."""
        try:
            return hours is None or bool(self._windows.find(hours, now.wall_ms))
        except ValueError:
            return False

    # Before the start.

    def add_grant(self, message: m.Grant, sent_ms: int) -> None:
        """Queue a granted attempt for its start.

        The start needs its journal record written, not durable: the kernel writes the record
        even if the agent dies. A power cut may lose it, but then the boot id has changed and
        every granted attempt counts as possibly started.
        """
        attempt = self.add_attempt((message.job, message.n), Phase.WAITING)
        attempt.priority = message.priority
        attempt.run = message.run
        attempt.start_by_ms = start_deadline_ms(sent_ms, message.start_by_s)
        self.set_terms(attempt, terms_from_grant(message, sent_ms))
        attempt.reaper_lease_end_ms = attempt.terms.end_ms
        self._turn.record_grant(attempt)
        self.queue_for_start(attempt)

    def queue_for_start(self, attempt: AgentAttempt) -> None:
        attempt.phase = Phase.WAITING
        attempt.reaper = ""
        self._waiting_count += 1
        heapq.heappush(self._queue, (-attempt.priority, *attempt.key))

    def mark_never_start(self, attempt: AgentAttempt, reason: str, code: str = "") -> None:
        """Bar an attempt from starting. The master is told once the journal record is durable."""
        self._waiting_count -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.NEVER_START
        attempt.reason, attempt.code = reason, code
        attempt.run = None
        self._clear_terms(attempt)
        self._turn.record_never_start(attempt)

    def start_waiting(self, now: Now) -> None:
        """Start waiting attempts, highest priority first, while slots are free."""
        if self.start_reaper is None or not self._waiting_count:
            return
        free = free_slots(self.max_running, self.running_count)
        postponed = []
        while free and self._queue:
            entry = heapq.heappop(self._queue)
            attempt = self.attempts.get(entry[1:])
            if attempt is None or attempt.phase is not Phase.WAITING or attempt.run is None:
                continue
            if now.steady_ms >= attempt.start_by_ms:
                self.mark_never_start(attempt, START_BY_PASSED)
                continue
            if self._opens_too_late(attempt, now):
                # The master's clock differs. Another machine may run the job meanwhile.
                self.mark_never_start(attempt, _CLOSED_HERE, HOURS_CLOSED)
                continue
            if attempt.freeze_requests or not self._is_open(attempt, now):
                postponed.append(entry)
                continue
            free -= 1
            self._waiting_count -= 1
            self.running_count += 1
            attempt.phase = Phase.STARTING
            attempt.reaper = self.start_reaper
            attempt.watchers += bool(attempt.progress_source)
            self._send_start(self.start_reaper, attempt, attempt.run, now)
        for entry in postponed:
            heapq.heappush(self._queue, entry)

    def _is_open(self, attempt: AgentAttempt, now: Now) -> bool:
        terms = attempt.terms
        if terms.hours is None:
            return True
        phases = (Phase.STARTING, Phase.RUNNING)
        commands = (each.terms.command for each in self.with_terms if each.phase in phases)
        return self._windows.permits(terms, self.running_count, commands, now.wall_ms)

    def _opens_too_late(self, attempt: AgentAttempt, now: Now) -> bool:
        """Return whether the hours are closed and stay closed past the attempt's start-by time."""
        hours = attempt.terms.hours
        if hours is None:
            return False
        found = self._windows.find(hours, now.wall_ms)
        if found.is_open:
            return False
        left_ms = attempt.start_by_ms - now.steady_ms
        return found.opens_ms is None or found.opens_ms >= now.wall_ms + left_ms

    def _send_start(self, reaper: str, attempt: AgentAttempt, run: m.RunSpec, now: Now) -> None:
        actions = compute_reaper_actions(attempt.terms, now) if attempt in self.with_terms else []
        self._turn.send(reaper, build_start_message(attempt.key, run, self._base_env, actions))

    def requeue_unstarted(self, attempt: AgentAttempt) -> None:
        """Queue an attempt again whose reaper died without a record of it: it had no process."""
        self.running_count -= 1
        attempt.watchers -= bool(attempt.progress_source)
        if attempt.run is None:
            self.mark_never_start(attempt, "the reaper died before the job was started")
        else:
            self.queue_for_start(attempt)

    # From the start to the end.

    def mark_running(self, reaper: str, key: Key, started_ms: int | None) -> AgentAttempt:
        """Record that an attempt's process exists or existed, and return the attempt. It may have
        been started by an earlier agent process."""
        attempt = self.attempts.get(key) or self.add_attempt(key, Phase.FOUND)
        if attempt.phase < Phase.RUNNING or attempt.phase >= Phase.NEVER_START:
            self.running_count += attempt.phase is not Phase.STARTING
            attempt.phase = Phase.RUNNING
            attempt.reaper = reaper
            attempt.started_ms = started_ms
            attempt.run = None
        return attempt

    def mark_ended(self, attempt: AgentAttempt, end: m.Ended) -> None:
        """Record the end of an attempt's process and free its slot."""
        self.running_count -= attempt.phase is Phase.RUNNING
        attempt.phase = Phase.ENDED
        self._clear_terms(attempt)
        attempt.end = end
        attempt.output = end.output
        if end.output:
            streams = {no for no, (written, *_) in enumerate(end.output, 1) if written}
            attempt.pending_streams = streams or None
        if attempt.watchers:
            # Followers wait for the end, whatever the outcome.
            self._turn.add(ReadNewOutput(attempt))

    def report_synced_ends(self, reaper: str, seq: int) -> None:
        unsynced = self._unsynced_ends[reaper]
        while unsynced and unsynced[0][0] <= seq:
            self.report_end(unsynced.popleft()[1])

    def add_unsynced_end(self, reaper: str, seq: int, attempt: AgentAttempt) -> None:
        self._unsynced_ends[reaper].append((seq, attempt))

    def report_end(self, attempt: AgentAttempt) -> None:
        """Report an attempt's end to the master: its outcome is durable here."""
        if attempt.phase is Phase.ENDED:
            attempt.phase = Phase.REPORTING
            self._outbox.queue_end(attempt)

    def set_status(self, attempt: AgentAttempt, status: JobStatus) -> None:
        if status != attempt.status:
            attempt.status = status
            self._outbox.queue_progress(attempt)

    def change_watchers(self, attempt: AgentAttempt, change: int) -> None:
        """Add `change` to the number of those that need updates on new output."""
        attempt.watchers += change
        # Sent for a second watcher too: the reaper answers with the current output size.
        if attempt.phase is Phase.RUNNING and (change > 0 or not attempt.watchers):
            self.send_watch(attempt)

    def send_watch(self, attempt: AgentAttempt) -> None:
        job, n = attempt.key
        on = attempt.watchers > 0
        self._turn.send(attempt.reaper, {"type": "watch", "job": job, "n": n, "on": on})

    # After the end.

    def forget_if_done(self, attempt: AgentAttempt) -> None:
        if attempt.end_acknowledged and not attempt.pending_streams:
            self.forget(attempt)

    def forget(self, attempt: AgentAttempt) -> None:
        key = attempt.key
        if self.attempts.pop(key, None) is None:
            return
        self._waiting_count -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.FORGOTTEN
        self._clear_terms(attempt)
        self._outbox.remove(attempt)
        self._turn.record_forgotten(key)
        if attempt.end is not None and attempt.end.output:
            self._turn.add(DeleteOutput(key, attempt.end.output))
        reaper = attempt.reaper
        if reaper in self._dead_reapers:
            self._dead_reapers[reaper].discard(key)
            self._remove_reaper_if_done(reaper)
        elif reaper:
            self._turn.acknowledge_end(reaper, key)

    # Reapers.

    def reconcile_reaper(
        self, reaper: str, reported: set[Key], starting: Iterable[Key], now: Now
    ) -> None:
        """Compare attempts with those that a connected reaper reported, and with those that its
        journal shows as `starting`, without a process yet."""
        self._unsynced_ends[reaper] = deque()
        for key in starting:
            attempt = self.attempts.get(key) or self.add_attempt(key, Phase.FOUND)
            if attempt.phase is Phase.FOUND and key not in reported:
                attempt.phase = Phase.STARTING
                attempt.reaper = reaper
                self.running_count += 1
        for attempt in self.find_attempts_of(reaper):
            if attempt.phase is Phase.STARTING and attempt.run and attempt.key not in reported:
                # The start may have been lost with the old connection. A repeated start is ignored.
                self._send_start(reaper, attempt, attempt.run, now)

    def resend_watches(self, reaper: str) -> None:
        """Ask a newly connected reaper for output updates: requests end with the connection."""
        for attempt in self.find_attempts_of(reaper):
            if attempt.phase is Phase.RUNNING:
                attempt.watchers += bool(attempt.progress_source and not attempt.watchers)
                if attempt.watchers:
                    self.send_watch(attempt)

    def mark_reaper_dead(self, reaper: str, journaled: set[Key]) -> None:
        """Remove the reaper's directory once all attempts in its journal are forgotten."""
        self._unsynced_ends.pop(reaper, None)
        if self.start_reaper == reaper:
            self.start_reaper = None
        self._dead_reapers[reaper] = journaled & self.attempts.keys()
        self._remove_reaper_if_done(reaper)

    def _remove_reaper_if_done(self, reaper: str) -> None:
        if not self._dead_reapers[reaper]:
            del self._dead_reapers[reaper]
            self._turn.add(RemoveReaper(reaper))
