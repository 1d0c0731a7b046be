"""Attempt table: this machine's attempts, and every change of their phase."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mythjobs.agent.core.attempt import AD_HOC, AgentAttempt, JournalSnapshot, Key, Phase
from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms, terms_from_grant
from mythjobs.agent.core.next_starts import NextStarts
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.start_queue import StartQueue
from mythjobs.agent.core.status import JobStatus
from mythjobs.agent.core.turn import (
    AgentTurn,
    CheckInputs,
    DeleteOutput,
    ReadNewOutput,
    RemoveReaper,
)
from mythjobs.clock import Now
from mythjobs.model.command import RUN
from mythjobs.model.machine_control import NO_CONTROL
from mythjobs.model.progress_formats import Reading
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease_timing import start_deadline_ms
from mythjobs.scheduler.capacity import free_slots


class AttemptTable:
    """The attempts on this machine, each with its phase. A change of phase adds actions for the
    caller to `turn`, and messages for the master to `outbox`."""

    def __init__(self, turn: AgentTurn, outbox: Outbox) -> None:
        self._turn = turn
        self._outbox = outbox
        self.attempts: dict[Key, AgentAttempt] = {}
        self.start_queue = StartQueue()
        self.next = NextStarts(turn)
        self.waiting_count = 0
        self.running_count = 0
        self.max_running = 0
        # Whether the machine is drained or paused (agent/core/pause.py).
        self.control = NO_CONTROL
        # Commands of the attempts that wait because the gate refused them.
        self.refused: dict[Key, str] = {}
        # Id of the reaper that new attempts are started in; None while none is ready.
        self.start_reaper: str | None = None
        # By dead reaper: the attempts in its journal that are still in this table. A reaper's
        # directory is removed when its set is empty.
        self._dead_reapers: dict[str, set[Key]] = {}
        # with_terms: unended attempts that have a lease or run windows. with_lease: its subset that
        # has a lease. Both are used as sets that keep insertion order; the values are None.
        self.with_terms: dict[AgentAttempt, None] = {}
        self.with_lease: dict[AgentAttempt, None] = {}

    def add_attempt(self, key: Key, phase: Phase) -> AgentAttempt:
        attempt = self.attempts[key] = AgentAttempt(key, phase)
        return attempt

    def find_attempts_of(self, reaper: str) -> Iterable[AgentAttempt]:
        return [each for each in self.attempts.values() if each.reaper == reaper]

    def take_snapshot(self, maybe_started: Iterable[Key]) -> JournalSnapshot:
        """Return the state to write when the agent's journal is rewritten."""
        barred = (Phase.NEVER_START, Phase.RETURNED)
        return JournalSnapshot(
            {key: each.terms for key, each in self.attempts.items() if each.phase not in barred},
            [key for key, each in self.attempts.items() if each.phase in barred],
            [key for key in maybe_started if key in self.attempts],
            self.control,
        )

    @property
    def open_slots(self) -> int:
        """Number of further grants for which a slot is free now."""
        if not self.control.accepts_jobs:
            return 0
        return free_slots(self.max_running, self.running_count + self.waiting_count)

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

    # Methods for attempts that have not started.

    def add_grant(self, message: m.Grant, sent_ms: int) -> None:
        """Queue a granted attempt for its start, if it has a lease, run windows or other terms only
        after start_written().

        If the agent is killed, the next one gets the attempts that a reaper has from that reaper,
        but their terms from the journal alone. So the record of terms is written before the start.
        It need not be durable: the kernel writes it to disk even if the agent dies. After a power
        failure, which may lose it, every granted attempt counts as possibly started.
        """
        attempt = self.add_attempt((message.job, message.n), Phase.WAITING)
        attempt.priority = message.priority
        attempt.command = message.command
        if message.command == RUN:
            attempt.command = AD_HOC + os.path.basename(message.run.argv[0])
        attempt.run = message.run
        attempt.start_by_ms = start_deadline_ms(sent_ms, message.start_by_s)
        self.waiting_count += 1
        terms = terms_from_grant(message, sent_ms)
        if terms is NO_TERMS:
            self._queue_start(attempt)
        else:
            self.set_terms(attempt, terms)
            attempt.reaper_lease_end_ms = terms.end_ms
        self._turn.record_grant(attempt, starts_after_write=terms is not NO_TERMS)

    def start_written(self, attempts: Iterable[AgentAttempt]) -> None:
        """Queue attempts for their start whose terms are now in the journal."""
        for attempt in attempts:
            if attempt.phase is Phase.WAITING:
                self._queue_start(attempt)

    def _queue_start(self, attempt: AgentAttempt) -> None:
        run = attempt.run
        if run is not None and (run.inputs or run.paths):
            self._turn.add(CheckInputs(attempt.key, run.inputs, run.paths or []))
        else:
            self.start_queue.push(attempt)

    def record_inputs(self, key: Key, missing: str, outside: str) -> None:
        """Queue an attempt for its start whose paths were checked, or return it. missing: the first
        directory or file on the way to an input that cannot be read, "" if all can. outside: the
        first path outside the roots of the machine's own policy."""
        attempt = self.attempts.get(key)
        if attempt is None or attempt.phase is not Phase.WAITING:
            return
        if outside:
            self.mark_never_start(attempt, f"{outside} is outside the roots of the own policy")
        elif missing:
            attempt.missing = missing
            self.mark_never_start(attempt, f"{missing} is not visible here", m.NOT_VISIBLE)
        else:
            self.start_queue.push(attempt)

    def mark_never_start(self, attempt: AgentAttempt, reason: str, code: str = "") -> None:
        """Mark an attempt as never to be started here. The agent reports this to the master once
        the journal record is durable."""
        self.waiting_count -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.NEVER_START
        attempt.reason, attempt.code = reason, code
        attempt.run = None
        self._clear_terms(attempt)
        self._turn.record_never_start(attempt)

    def mark_starting(self, attempt: AgentAttempt, reaper: str) -> None:
        """Record that the start of a waiting attempt is sent to a reaper."""
        self.waiting_count -= 1
        self.running_count += 1
        attempt.phase = Phase.STARTING
        attempt.reaper = reaper
        attempt.watchers += bool(attempt.progress_source)

    def mark_next(self, attempt: AgentAttempt, reaper: str) -> None:
        """Record that the start of a waiting attempt, which has no terms, is sent ahead."""
        self.waiting_count -= 1
        attempt.phase = Phase.NEXT
        attempt.reaper = reaper
        self.next.add(attempt)

    def mark_next_started(self, attempt: AgentAttempt) -> None:
        """Record that an attempt in phase NEXT starts now."""
        self.running_count += 1
        attempt.phase = Phase.STARTING
        self.next.remove(attempt)

    def take_back(self, attempts: Iterable[AgentAttempt]) -> None:
        """Queue attempts in phase NEXT again: their reaper has not started them, and will not."""
        for attempt in attempts:
            self.next.remove(attempt)
            self._requeue(attempt)

    def requeue_unstarted(self, attempt: AgentAttempt) -> None:
        """Queue an attempt for its start again: its reaper died and has no record of it in its
        journal, so no process was started."""
        self.running_count -= 1
        attempt.watchers -= bool(attempt.progress_source)
        if attempt.run is None:
            self.mark_never_start(attempt, "the reaper died before the job was started")
        else:
            self._requeue(attempt)

    def _requeue(self, attempt: AgentAttempt) -> None:
        attempt.phase = Phase.WAITING
        attempt.reaper = ""
        self.waiting_count += 1
        if attempt.stopped_by:
            self.mark_never_start(attempt, f"stopped by {attempt.stopped_by}")
        else:
            self.start_queue.push(attempt)

    # Methods for attempts that have a process, or had one.

    def mark_running(self, reaper: str, key: Key, started_ms: int | None) -> AgentAttempt:
        """Record that an attempt's process exists or existed, and return the attempt. Add the
        attempt to the table if it is unknown: an earlier agent process may have started it."""
        attempt = self.attempts.get(key) or self.add_attempt(key, Phase.FOUND)
        if attempt.phase < Phase.RUNNING or attempt.phase >= Phase.NEVER_START:
            self.running_count += attempt.phase is not Phase.STARTING
            self.next.remove(attempt)
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
            # Transfers that follow the output finish only at the end of the attempt.
            self._turn.add(ReadNewOutput(attempt))

    def report_end(self, attempt: AgentAttempt) -> None:
        """Queue the report of an attempt's end to the master. The caller knows that the outcome is
        durable on this machine."""
        if attempt.phase is Phase.ENDED:
            attempt.phase = Phase.REPORTING
            self._outbox.queue_end(attempt)

    def set_status(self, attempt: AgentAttempt, status: JobStatus) -> None:
        if status != attempt.status:
            attempt.status = status
            self._outbox.queue_progress(attempt)

    def record_progress(self, key: Key, found: Reading, now_ms: int) -> None:
        attempt = self.attempts.get(key)
        if attempt is None or attempt.phase > Phase.REPORTING or attempt.end_acknowledged:
            return
        # Accept progress even if the end is queued: progress precedes ends in a frame.
        self.set_status(attempt, (attempt.status or JobStatus()).with_reading(found, now_ms))

    def list_running(self) -> dict[Key, str]:
        """Return the commands of the attempts that have, or will at once have, a process."""
        running = (Phase.STARTING, Phase.RUNNING)
        return {key: each.command for key, each in self.attempts.items() if each.phase in running}

    def set_frozen(self, attempt: AgentAttempt, holders: tuple[str, ...], now: Now) -> None:
        """Record and report the holders of an attempt's freeze, if they have changed."""
        if attempt.phase >= Phase.ENDED or attempt.frozen_by == holders:
            return
        changed = bool(attempt.frozen_by) != bool(holders)
        attempt.frozen_by = holders
        self._outbox.queue_frozen(attempt)
        if changed and attempt.status is not None:
            self.set_status(attempt, attempt.status.with_frozen(bool(holders), now.steady_ms))

    def change_watchers(self, attempt: AgentAttempt, change: int) -> None:
        """Add `change` to the number of readers to notify of new output."""
        attempt.watchers += change
        # Send "watch" for each additional watcher, not only for the first: the reaper answers with
        # the current output size, which the new watcher needs.
        if attempt.phase is Phase.RUNNING and (change > 0 or not attempt.watchers):
            self.send_watch(attempt)

    def send_watch(self, attempt: AgentAttempt) -> None:
        job, n = attempt.key
        on = attempt.watchers > 0
        self._turn.send(attempt.reaper, {"type": "watch", "job": job, "n": n, "on": on})

    def send_stop(self, attempt: AgentAttempt) -> None:
        job, n = attempt.key
        stop = {"type": "stop", "job": job, "n": n, "by": attempt.stopped_by}
        self._turn.send(attempt.reaper, stop)

    # Methods for attempts that have ended.

    def forget_if_done(self, attempt: AgentAttempt) -> None:
        if attempt.end_acknowledged and not attempt.pending_streams:
            self.forget(attempt)

    def forget(self, attempt: AgentAttempt) -> None:
        key = attempt.key
        if self.attempts.pop(key, None) is None:
            return
        self.waiting_count -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.FORGOTTEN
        self._clear_terms(attempt)
        self._outbox.remove(attempt)
        self._turn.record_forgotten(key)
        if attempt.end is not None and attempt.end.output and not attempt.end.data:
            self._turn.add(DeleteOutput(key, attempt.end.output))
        reaper = attempt.reaper
        if reaper in self._dead_reapers:
            self._dead_reapers[reaper].discard(key)
            self._remove_reaper_if_done(reaper)
        elif reaper:
            self._turn.acknowledge_end(reaper, key)

    # Methods for changes of reapers.

    def reconcile_reaper(self, reaper: str, reported: set[Key], starting: Iterable[Key]) -> None:
        """Bring the table in line with a reaper that has just connected: adopt its attempts in
        `starting`, which have no process yet. It has dropped what was in phase NEXT."""
        for key in starting:
            attempt = self.attempts.get(key) or self.add_attempt(key, Phase.FOUND)
            if attempt.phase is Phase.NEXT:
                self.mark_next_started(attempt)
            elif attempt.phase is Phase.FOUND and key not in reported:
                attempt.phase = Phase.STARTING
                attempt.reaper = reaper
                self.running_count += 1
        self.take_back(each for each in self.next.list_of(reaper) if each.key not in reported)
        self.next.end_recall(reaper)

    def resend_stops(self, reaper: str) -> None:
        """Repeat the stops of a reaper's attempts: they may have been lost with the connection."""
        for attempt in self.find_attempts_of(reaper):
            if attempt.stopped_by and attempt.phase in (Phase.STARTING, Phase.RUNNING):
                self.send_stop(attempt)

    def resend_watches(self, reaper: str) -> None:
        """Request output updates from a reaper that has just connected: a reaper drops the requests
        of a connection when the connection closes."""
        for attempt in self.find_attempts_of(reaper):
            if attempt.phase is Phase.RUNNING:
                attempt.watchers += bool(attempt.progress_source and not attempt.watchers)
                if attempt.watchers:
                    self.send_watch(attempt)

    def mark_reaper_dead(self, reaper: str, journaled: set[Key]) -> None:
        """Record that a reaper died. Its directory is removed once every attempt in its journal
        (`journaled`) has left this table."""
        self.take_back(self.next.list_of(reaper))
        self.next.end_recall(reaper)
        if self.start_reaper == reaper:
            self.start_reaper = None
        self._dead_reapers[reaper] = journaled & self.attempts.keys()
        self._remove_reaper_if_done(reaper)

    def _remove_reaper_if_done(self, reaper: str) -> None:
        if not self._dead_reapers[reaper]:
            del self._dead_reapers[reaper]
            self._turn.add(RemoveReaper(reaper))
