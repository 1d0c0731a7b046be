"""Events of reapers: starts, ends, output and freezes of attempts, and the death of a reaper."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from mythjobs.agent.core import outcome
from mythjobs.agent.core.attempt import AgentAttempt, Key, OutputWindows, Phase
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.agent.core.leases import LeaseEnforcer
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.pause import PauseEnforcer
from mythjobs.agent.core.starts import Starts
from mythjobs.agent.core.status import JobStatus, parse_status_lines
from mythjobs.agent.core.turn import AgentTurn, ReadNewOutput
from mythjobs.clock import Now


class ReaperEvents:
    """Part of the agent core that applies the messages of reapers to the attempt table."""

    def __init__(
        self,
        table: AttemptTable,
        starts: Starts,
        turn: AgentTurn,
        outbox: Outbox,
        enforcer: LeaseEnforcer,
        pause: PauseEnforcer,
    ) -> None:
        self._table = table
        self._starts = starts
        self._turn = turn
        self._outbox = outbox
        self._enforcer = enforcer
        self._pause = pause
        # By reaper: ends whose record in the reaper's journal is not yet durable, as (sequence
        # number of the record, attempt) in ascending order.
        self._unsynced_ends: dict[str, deque[tuple[int, AgentAttempt]]] = {}

    def adopt(
        self, reaper: str, attempts: Sequence[Any], starting: Iterable[Key], now: Now
    ) -> None:
        """Adopt the attempts of a reaper that has just connected; an earlier agent process may have
        started them. `starting`: attempts for which the reaper has not yet spawned a process."""
        self._unsynced_ends[reaper] = deque()
        reported = {(each["job"], each["n"]) for each in attempts}
        self._table.reconcile_reaper(reaper, reported, starting)
        self._starts.repeat_starts(reaper, reported, now)
        self.apply(reaper, attempts, now)
        self._table.resend_stops(reaper)
        self._table.resend_watches(reaper)
        self._enforcer.resend_actions(reaper, now)
        self._pause.freeze_attempts_of(reaper, now)

    def apply(self, reaper: str, messages: Sequence[Any], now: Now) -> None:
        table = self._table
        followed: set[Key] = set()
        for each in messages:
            kind = each["type"]
            if kind == "synced":
                self._report_synced_ends(reaper, each["seq"])
                continue
            if kind == "recalled":
                if not each.get("late"):
                    table.next.end_recall(reaper)
                table.take_back(table.next.find((job, n) for job, n in each["attempts"]))
                continue
            if "job" not in each:
                # Ignore answers to pings, and messages that only newer versions know.
                continue
            key = (each["job"], each["n"])
            if kind == "started":
                self._record_start(table.mark_running(reaper, key, each["at_ms"]))
            elif kind == "frozen":
                if attempt := table.attempts.get(key):
                    table.set_frozen(attempt, tuple(each["holders"]), now)
                    self._pause.thaw_leftover(attempt)
            elif kind == "ended":
                end = (each["seq"], self._record_end(reaper, each))
                self._unsynced_ends[reaper].append(end)
                if "next" in each:
                    job, n = each["next"]
                    for attempt in table.next.find([(job, n)]):
                        table.mark_next_started(attempt)
                        followed.add(attempt.key)
            elif kind == "grew":
                self._record_output(key, each["output"])
            elif kind == "status":
                if attempt := table.attempts.get(key):
                    status, lines = attempt.status or JobStatus(), each["lines"]
                    table.set_status(attempt, parse_status_lines(status, lines, now.steady_ms))

        self._starts.count_next(followed, now)

    def record_death(
        self, reaper: str, ended: Sequence[Any], lost: Sequence[outcome.LostAttempt], now: Now
    ) -> None:
        """Record the ends of a dead reaper's attempts.

        `ended` are the ends in its journal, which has been synced to disk. `lost` are the
        attempts without an end in the journal; all their processes are gone.
        """
        table = self._table
        for each in ended:
            self._record_end(reaper, each)
        for each in lost:
            attempt = table.mark_running(reaper, each.key, each.started_ms)
            if attempt.phase is Phase.RUNNING:
                table.mark_ended(attempt, outcome.ended_from_lost(each, now))
        for attempt in table.find_attempts_of(reaper):
            if attempt.phase is Phase.ENDED:
                table.report_end(attempt)
            elif attempt.phase is Phase.STARTING:
                # The reaper journals every start before it spawns the process, and its journal has
                # no start of this attempt: there was no process, so it can start elsewhere.
                table.requeue_unstarted(attempt)
            elif attempt.phase is Phase.RUNNING:
                self.end_lost(attempt, "", outcome.NO_JOURNAL, now)
        journaled = {(each["job"], each["n"]) for each in ended} | {each.key for each in lost}
        self._unsynced_ends.pop(reaper, None)
        table.mark_reaper_dead(reaper, journaled)

    def end_lost(self, attempt: AgentAttempt, proof: str, why: str, now: Now) -> None:
        lost = outcome.LostAttempt(attempt.key, attempt.started_ms, [], proof, why)
        self._table.mark_ended(attempt, outcome.ended_from_lost(lost, now))
        self._table.report_end(attempt)

    def _record_start(self, attempt: AgentAttempt) -> None:
        if attempt.phase is Phase.RUNNING:
            self._outbox.queue_start(attempt)
            self._enforcer.send_freezes(attempt)
            if attempt.watchers and not attempt.progress_source:
                # Request output updates now: a transfer began to follow the output before the
                # process existed.
                self._table.send_watch(attempt)

    def _record_end(self, reaper: str, ended: Any) -> AgentAttempt:
        key = (ended["job"], ended["n"])
        attempt = self._table.mark_running(reaper, key, ended["started_ms"])
        if attempt.phase is Phase.RUNNING:
            self._table.mark_ended(attempt, outcome.ended_from_reaper(ended, attempt.terms))
        return attempt

    def _report_synced_ends(self, reaper: str, seq: int) -> None:
        """Report the ends whose records up to number `seq` are durable."""
        unsynced = self._unsynced_ends[reaper]
        while unsynced and unsynced[0][0] <= seq:
            self._table.report_end(unsynced.popleft()[1])

    def _record_output(self, key: Key, output: OutputWindows) -> None:
        if attempt := self._table.attempts.get(key):
            attempt.output = output
            self._turn.add(ReadNewOutput(attempt))
