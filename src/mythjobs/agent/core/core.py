"""Agent core: the agent's state and decisions, synchronous and without IO.

Each call takes a message and the time and returns actions; service.py carries them out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mythjobs.agent.core import outcome
from mythjobs.agent.core.attempt import AgentAttempt, JournalSnapshot, Key, Phase
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.agent.core.grant_check import LATE_GRANT, GrantCheck
from mythjobs.agent.core.leases import PRESSURE, LeaseEnforcer
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.pause import PauseEnforcer
from mythjobs.agent.core.reaper_events import ReaperEvents
from mythjobs.agent.core.start_queue import START_BY_PASSED
from mythjobs.agent.core.starts import StartGate, Starts
from mythjobs.agent.core.turn import Action, AgentTurn, ForwardTransfer
from mythjobs.clock import Now
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy
from mythjobs.model.progress_formats import Reading
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import MASTER_CAPABILITIES, SMALL_OUTPUT


class _SentHeartbeat(NamedTuple):
    """Send time of a heartbeat (CLOCK_BOOTTIME), and the attempts that it reported."""

    sent_ms: int
    reported: frozenset[Key]


class AgentCore:
    def __init__(
        self,
        base_env: Mapping[str, str],
        own: OwnPolicy = NO_OWN_POLICY,
        gate: StartGate | None = None,
    ) -> None:
        self._own = own
        self._outbox = Outbox()
        self._turn = AgentTurn()
        self.table = self._table = AttemptTable(self._turn, self._outbox)
        self._starts = Starts(self._table, self._turn, base_env, gate)
        self._grant_check = GrantCheck(own, self._table.start_queue.knows_zone)
        self._maybe_started: set[Key] = set()
        self._enforcer = LeaseEnforcer(self._table, self._turn)
        self._pause = PauseEnforcer(self._table, self._turn, self._enforcer)
        self._reapers = ReaperEvents(
            self._table, self._starts, self._turn, self._outbox, self._enforcer, self._pause
        )
        # The last two heartbeats by number. A renewed lease runs from the time at which the
        # heartbeat was sent, not from the master's answer.
        self._sent_heartbeats: dict[int, _SentHeartbeat] = {}
        # Number of heartbeats due on this connection since the master last answered one, including
        # those not sent because too many frames are unacknowledged.
        self.unanswered_heartbeats = 0
        self._durable_grant = 0
        # Highest grant number received on this connection. Lower numbers are repeats: ignored, so
        # that no grant runs twice.
        self._last_grant = 0
        self._stopped_by = ""

    # Recovery when the agent starts.

    def restore(self, snapshot: JournalSnapshot) -> None:
        """Restore the attempts in the agent's journal. Must be the first call on a new core."""
        for key, terms in snapshot.granted.items():
            attempt = self._table.add_attempt(key, Phase.FOUND)
            # The machine's own policy may have changed while no agent ran.
            terms = terms._replace(hours=self._own.limit_hours(terms.hours))
            self._table.set_terms(attempt, terms)
            attempt.reaper_lease_end_ms = terms.end_ms
        for key in snapshot.never_start:
            attempt = self._table.add_attempt(key, Phase.RETURNED)
            attempt.reason = "returned before the agent restarted"
        self._maybe_started = set(snapshot.maybe_started)
        self._pause.restore(snapshot.control)

    def finish_recovery(self, now: Now) -> list[Action]:
        """Mark granted attempts that no reaper knows as never-start. Called once all reapers have
        reported and dead reapers' journals were read. After a restart of the machine, report them
        as lost instead: a power failure may have lost the reaper's record of the start."""
        for attempt in self._find_in_phase(Phase.FOUND):
            if attempt.key in self._maybe_started:
                self._reapers.end_lost(
                    attempt, "the machine's boot id", outcome.MACHINE_RESTARTED, now
                )
            else:
                reason = "the agent restarted before the job was started"
                self._table.mark_never_start(attempt, reason)
        return self._turn.take_actions()

    # Events of the link, the connection to the master.

    def on_connected(self, jobs: int, master_can: Collection[str] = MASTER_CAPABILITIES) -> None:
        """Begin a new connection to the master: reset the state of the old one, and report all
        attempts again. `jobs` is how many jobs the master lets this machine run at once."""
        self._outbox.can_report_freezes = "frozen" in master_can
        self._outbox.can_send_output = SMALL_OUTPUT in master_can
        self._turn.connection += 1
        self._durable_grant = self._last_grant = 0
        self._sent_heartbeats.clear()
        self.unanswered_heartbeats = 0
        self._apply_settings(jobs)
        self._outbox.reset(self._table.attempts.values())

    def change_control(self, control: m.Control | None, now: Now) -> list[Action]:
        """Drain, pause or resume the machine, as the master's first message requires."""
        self._pause.change(control, now)
        return self._finish_turn(now)

    def on_heartbeat_due(self, now: Now) -> list[Action]:
        self.unanswered_heartbeats += 1
        self._outbox.queue_heartbeat()
        return self.check_deadlines(now)

    def check_deadlines(self, now: Now) -> list[Action]:
        """Handle expired leases, passed start-by times, opened run windows and wall clock steps."""
        for attempt in self._find_in_phase(Phase.WAITING):
            if now.steady_ms >= attempt.start_by_ms:
                self._table.mark_never_start(attempt, START_BY_PASSED)
        self._enforcer.check_deadlines(now)
        self._pause.end_if_due(now)
        return self._finish_turn(now)

    @property
    def has_deadlines(self) -> bool:
        """True while any attempt has a lease or run windows, or a pause has an end."""
        return bool(self._table.with_terms) or self._pause.has_end

    def next_frame(self, now: Now, *, is_due: bool = False) -> m.AgentFrame | None:
        """Return the next frame for the master; None if none may be sent now, or if, unless
        `is_due`, there is no message. The caller must send the frame immediately: a heartbeat in it
        renews leases from `now`."""
        taken = self._outbox.take_frame(
            now,
            durable_grant=self._durable_grant,
            room=0 if self._stopped_by else self._table.open_slots,
            attempts=self._table.attempts.values(),
            is_due=is_due,
        )
        if taken is None:
            return None
        frame, hb = taken
        if self._stopped_by:
            frame = msgspec.structs.replace(frame, draining=True)
        if hb is not None:
            held = next(each for each in frame.messages if isinstance(each, m.Heartbeat)).held
            # Record the attempts in this heartbeat: the master's answer renews only these, not an
            # attempt that is granted between heartbeat and answer.
            has_leases = bool(self._table.with_lease)
            keys = frozenset((each.job, each.n) for each in held) if has_leases else frozenset()
            self._sent_heartbeats[hb] = _SentHeartbeat(now.steady_ms, keys)
            self._sent_heartbeats.pop(hb - 2, None)
        return frame

    def next_frame_ms(self) -> int | None:
        """Return the CLOCK_BOOTTIME ms at which rate-limited progress may be sent, or None."""
        return self._outbox.next_progress_ms()

    def on_master_frame(self, frame: m.MasterFrame, now: Now) -> list[Action]:
        for attempt in self._outbox.acknowledge(frame.ack):
            self._outbox.mark_acknowledged(attempt)
            self._table.forget_if_done(attempt)
        for message in frame.messages:
            match message:
                case m.Grant():
                    self._handle_grant(message, now)
                case m.Renew():
                    self.unanswered_heartbeats = 0
                    if sent := self._sent_heartbeats.get(message.hb):
                        self._enforcer.renew(sent.sent_ms, sent.reported, message.excepted, now)
                case m.HoursChanged():
                    hours = self._grant_check.limit_hours(message.hours)
                    self._enforcer.change_hours((message.job, message.n), hours, now)
                case m.LimitsChanged():
                    self._enforcer.change_limits(self._grant_check.limit_change(message))
                case m.Freeze():
                    self._enforcer.set_frozen((message.job, message.n), message.holder, message.on)
                case m.Stop():
                    self._stop((message.job, message.n), message.by)
                case m.Stale():
                    self._drop_stale((message.job, message.n))
                case m.Settings():
                    self._apply_settings(message.jobs)
                    if message.control is not None:
                        self._pause.change(message.control, now)
                case m.OutputKept():
                    self._release_output((message.job, message.n), message.stream)
                case _:
                    self._turn.add(ForwardTransfer(message))
        return self._finish_turn(now)

    def queue_output_end(self, end: m.OutputEnd) -> None:
        self._outbox.queue_output_end(end)

    def on_journal_written(self, token: int, now: Now) -> list[Action]:
        """Start attempts whose terms are in the journal now: in the records up to this one."""
        self._table.start_written(self._turn.take_written(token))
        return self._finish_turn(now)

    def on_inputs_checked(
        self, key: Key, missing: str, now: Now, outside: str = ""
    ) -> list[Action]:
        """Start an attempt whose inputs can be read, or return it (AttemptTable.record_inputs)."""
        self._table.record_inputs(key, missing, outside)
        return self._finish_turn(now)

    def on_journal_synced(self, token: int) -> None:
        """Report grants and never-start marks whose journal records are durable."""
        for pending in self._turn.take_synced(token):
            for attempt in pending.never_start:
                if attempt.phase is Phase.NEVER_START:
                    attempt.phase = Phase.RETURNED
                    self._outbox.queue_end(attempt)
            if pending.grant_no and pending.connection == self._turn.connection:
                self._durable_grant = pending.grant_no

    # Events of reapers.

    def set_start_reaper(self, reaper: str, now: Now) -> list[Action]:
        """Start new attempts in this reaper from now on."""
        self._table.start_reaper = reaper
        return self._finish_turn(now)

    def on_reaper_hello(
        self, reaper: str, attempts: Sequence[Any], starting: Iterable[Key], now: Now
    ) -> list[Action]:
        self._reapers.adopt(reaper, attempts, starting, now)
        return self._finish_turn(now)

    def on_reaper_messages(self, reaper: str, messages: Sequence[Any], now: Now) -> list[Action]:
        self._reapers.apply(reaper, messages, now)
        return self._finish_turn(now)

    def on_reaper_death(
        self, reaper: str, ended: Sequence[Any], lost: Sequence[outcome.LostAttempt], now: Now
    ) -> list[Action]:
        self._reapers.record_death(reaper, ended, lost, now)
        return self._finish_turn(now)

    def change_watchers(self, key: Key, change: int) -> list[Action]:
        """Add `change` to the number of transfers that follow the output of this attempt."""
        if attempt := self._table.attempts.get(key):
            self._table.change_watchers(attempt, change)
        return self._turn.take_actions()

    def record_progress(self, key: Key, found: Reading, now: Now) -> None:
        """Record progress that was read from the attempt's output."""
        self._table.record_progress(key, found, now.steady_ms)

    def change_freezes(self, changes: Iterable[tuple[Key, bool]], now: Now) -> list[Action]:
        """Freeze or thaw attempts because of the machine's load, and start those that now fit."""
        for key, on in changes:
            self._enforcer.set_frozen(key, PRESSURE, on)
        return self._finish_turn(now)

    # Shutdown, and state that the agent process reads.

    def stop_all_jobs(self, by: str) -> list[Action]:
        """Stop running attempts, return waiting ones to the master, and reject further grants."""
        self._stopped_by = by
        for attempt in list(self._table.attempts.values()):
            if attempt.phase < Phase.ENDED:
                self._stop(attempt.key, by)
        return self._turn.take_actions()

    @property
    def running_count(self) -> int:
        return self._table.running_count

    @property
    def unacknowledged_count(self) -> int:
        """Number of attempts, live or ended, that the master has not acknowledged completely."""
        return len(self._table.attempts)

    def list_keys(self) -> set[Key]:
        return set(self._table.attempts)

    def find_attempt(self, key: Key) -> AgentAttempt | None:
        return self._table.attempts.get(key)

    def take_snapshot(self) -> JournalSnapshot:
        return self._table.take_snapshot(self._maybe_started)

    def _finish_turn(self, now: Now) -> list[Action]:
        self._starts.start_waiting(now)
        return self._turn.take_actions()

    def _find_in_phase(self, phase: Phase) -> list[AgentAttempt]:
        return [each for each in self._table.attempts.values() if each.phase is phase]

    def _apply_settings(self, jobs: int) -> None:
        limit = self._own.jobs
        self._table.max_running = jobs if limit is None else min(jobs, limit)

    def _handle_grant(self, message: m.Grant, now: Now) -> None:
        if message.no <= self._last_grant:
            return
        self._last_grant = message.no
        self._turn.record_grant_no(message.no)
        key = (message.job, message.n)
        sent = self._sent_heartbeats.get(message.hb)
        if (known := self._table.attempts.get(key)) is not None:
            # The master grants this attempt again: only renew its lease.
            if sent is not None:
                self._enforcer.extend(known, sent.sent_ms, now)
            return
        if self._stopped_by:
            reason = "the agent is stopping its jobs and takes no new ones"
        elif sent is None:
            reason = LATE_GRANT
        elif not (reason := self._grant_check.find_refusal(message, sent.sent_ms, now)):
            self._table.add_grant(self._grant_check.limit_grant(message), sent.sent_ms)
            return
        self._table.mark_never_start(self._table.add_attempt(key, Phase.FOUND), reason)

    def _stop(self, key: Key, by: str) -> None:
        attempt = self._table.attempts.get(key)
        if attempt is None:
            # Unknown attempt: its grant may arrive later. Add it, so that it is marked never-start
            # below and that grant does not start it.
            attempt = self._table.add_attempt(key, Phase.FOUND)
        if attempt.phase in (Phase.NEXT, Phase.STARTING, Phase.RUNNING):
            attempt.stopped_by = attempt.stopped_by or by
            if attempt.phase is Phase.NEXT:
                # The reaper may have started it meanwhile: the stop is for that case.
                self._table.next.recall()
            self._table.send_stop(attempt)
        elif attempt.phase < Phase.STARTING:
            self._table.mark_never_start(attempt, f"stopped by {by}")

    def _drop_stale(self, key: Key) -> None:
        attempt = self._table.attempts.get(key)
        if attempt is None:
            return
        if attempt.phase in (Phase.NEXT, Phase.STARTING, Phase.RUNNING):
            self._stop(key, "stale")
        elif attempt.phase is not Phase.ENDED:
            # No process of the attempt exists: forget it. If the journal loses this, a restarted
            # agent finds the grant without a start, and marks the attempt never-start.
            self._table.forget(attempt)

    def _release_output(self, key: Key, stream: int) -> None:
        attempt = self._table.attempts.get(key)
        if attempt is not None and attempt.pending_streams:
            attempt.pending_streams.discard(stream)
            self._table.forget_if_done(attempt)
