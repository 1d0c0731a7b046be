"""Lease enforcer: renews leases, changes run windows and limits of attempts, and sends timed
actions to reapers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from mythjobs.agent.core import lease_terms as t
from mythjobs.agent.core.attempt import AgentAttempt, Key, Phase
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.agent.core.turn import AgentTurn
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import HoursSpec

# A renewal is sent to the reaper and journaled once the lease end has moved by _MAX_UNSENT_MS, or
# by 1/_MAX_UNSENT_SHARE of the lease if that is less. Smaller steps cost a write per heartbeat;
# with larger ones the reaper ends jobs too early while no agent runs.
_MAX_UNSENT_MS: Final = 60_000
_MAX_UNSENT_SHARE: Final = 8
# Interval at which timed actions are sent again: long before the eight days that they cover end.
_ACTIONS_REFRESH_MS: Final = 86_400_000
_CLOCK_STEP_MS: Final = 1000

# Holder of the freezes that this machine requests because of its load.
PRESSURE: Final = "pressure"
# Such a freeze ends when no agent has been there for this time, as then nobody would end it.
_LAPSE_S: Final = 60.0
# The reaper may have started an attempt in phase NEXT; it ignores messages about one that waits.
_RUNNING_PHASES: Final = (Phase.NEXT, Phase.STARTING, Phase.RUNNING)


class LeaseEnforcer:
    """Part of the agent core for leases, run windows, limits and freezing of attempts."""

    def __init__(self, table: AttemptTable, turn: AgentTurn) -> None:
        self._table = table
        self._turn = turn
        # _clock_offset_ms: wall clock minus CLOCK_BOOTTIME, to detect clock steps; None before the
        # first check. The next field: CLOCK_BOOTTIME at which all timed actions were last computed.
        self._clock_offset_ms: int | None = None
        self._actions_sent_ms = 0
        # End of a pause of the machine (wall clock) at which the reaper thaws all attempts.
        self.pause_until_ms: int | None = None

    def renew(
        self, sent_ms: int, reported: Collection[Key], excepted: Iterable[Key], now: Now
    ) -> None:
        """Renew the leases of the attempts `reported` in a heartbeat that the master has answered,
        except those `excepted` in its answer. The heartbeat was sent at `sent_ms`."""
        barred = set(excepted)
        for attempt in self._table.with_lease:
            if attempt.key in reported and attempt.key not in barred:
                self.extend(attempt, sent_ms, now)

    def extend(self, attempt: AgentAttempt, sent_ms: int, now: Now) -> None:
        lease_s = attempt.terms.lease_s
        if lease_s is None:
            return
        attempt.terms = attempt.terms.with_renewal(sent_ms)
        unsent_ms = attempt.terms.end_ms - attempt.reaper_lease_end_ms
        if unsent_ms >= min(_MAX_UNSENT_MS, lease_s * 1000 / _MAX_UNSENT_SHARE):
            attempt.reaper_lease_end_ms = attempt.terms.end_ms
            self._turn.record_renewal(attempt)
            self.send_actions(attempt, now)

    def change_hours(self, key: Key, message: HoursSpec | None, now: Now) -> None:
        attempt = self._find_unended(key)
        hours = t.hours_from_message(message)
        if attempt is None or hours == attempt.terms.hours:
            return
        if message is not None and not self._table.start_queue.knows_zone(hours, now):
            # The time zone is not in this machine's database: keep the old run windows.
            return
        self._table.set_terms(attempt, attempt.terms._replace(hours=hours))
        self._turn.record_hours(attempt)
        self.send_actions(attempt, now)

    def change_limits(self, message: m.LimitsChanged) -> None:
        """Change the limits of an attempt. The change is not journaled: the reaper keeps the limits
        of a running attempt, and the master repeats the change on a new connection."""
        attempt = self._find_unended((message.job, message.n))
        if attempt is None:
            return
        limits: dict[str, Any] = {name: getattr(message, name) for name in m.CHANGEABLE_LIMITS}
        if attempt.run is not None:
            attempt.run = msgspec.structs.replace(attempt.run, **limits)
        if attempt.phase in _RUNNING_PHASES:
            self._send(attempt, "limits", **limits)

    def set_frozen(self, key: Key, holder: str, is_frozen: bool) -> None:
        attempt = self._find_unended(key)
        if attempt is None:
            return
        if is_frozen:
            attempt.freeze_requests |= {holder}
        else:
            attempt.freeze_requests -= {holder}
        if attempt.phase in _RUNNING_PHASES:
            self._send_freeze(attempt, holder, is_frozen)

    def send_freezes(self, attempt: AgentAttempt) -> None:
        """Send the reaper the master's freeze requests for an attempt that has just started."""
        for holder in sorted(attempt.freeze_requests - set(attempt.frozen_by)):
            self._send_freeze(attempt, holder, True)

    def resend_actions(self, reaper: str, now: Now) -> None:
        """Send the timed actions of all attempts of a reaper that has just connected: the wall
        clock may have stepped while no agent was running."""
        for attempt in self._table.with_terms:
            if attempt.reaper == reaper:
                self.send_actions(attempt, now)

    def check_deadlines(self, now: Now) -> None:
        """Stop attempts whose lease is about to end (their reapers stop them, too), and send timed
        actions again after a step of the wall clock. Called once a second while any attempt has
        a lease or run windows, or the machine is paused until a time."""
        for attempt in self._table.with_lease:
            kill_ms = attempt.terms.kill_ms
            if attempt.phase in _RUNNING_PHASES and kill_ms is not None:
                if now.steady_ms >= kill_ms and not attempt.lease_stop_sent:
                    attempt.lease_stop_sent = True
                    self._send(attempt, "stop", by=t.BY_LEASE)
        offset_ms = now.wall_ms - now.steady_ms
        old_ms = self._clock_offset_ms
        is_stepped = old_ms is None or abs(offset_ms - old_ms) >= _CLOCK_STEP_MS
        if is_stepped or now.steady_ms - self._actions_sent_ms >= _ACTIONS_REFRESH_MS:
            self._clock_offset_ms, self._actions_sent_ms = offset_ms, now.steady_ms
            is_paused = self.pause_until_ms is not None
            for attempt in self._table.attempts.values() if is_paused else self._table.with_terms:
                if is_paused or attempt.terms.hours is not None:
                    self.send_actions(attempt, now)

    def send_actions(self, attempt: AgentAttempt, now: Now) -> None:
        """Replace the timed actions that the reaper has for a running attempt."""
        if attempt.phase in _RUNNING_PHASES:
            acts = t.compute_reaper_actions(
                attempt.terms, now, attempt.frozen_by, self.pause_until_ms
            )
            self._send(attempt, "acts", acts=acts)

    def _find_unended(self, key: Key) -> AgentAttempt | None:
        attempt = self._table.attempts.get(key)
        if attempt is not None and attempt.phase is Phase.NEXT:
            self._table.next.recall()  # to start it as changed, or later
        return attempt if attempt is not None and attempt.phase < Phase.ENDED else None

    def _send_freeze(self, attempt: AgentAttempt, holder: str, is_frozen: bool) -> None:
        lapse = {"lapse_s": _LAPSE_S} if is_frozen and holder == PRESSURE else {}
        self._send(attempt, "freeze", holder=holder, on=is_frozen, **lapse)

    def _send(self, attempt: AgentAttempt, kind: str, **fields: Any) -> None:
        job, n = attempt.key
        self._turn.send(attempt.reaper, {"type": kind, "job": job, "n": n, **fields})
