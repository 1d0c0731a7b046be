"""Leases, hours and freezing of what this machine holds: what the reaper must know of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from mythjobs.agent.core import lease_terms as t
from mythjobs.agent.core.admission import Roster
from mythjobs.agent.core.attempt import Attempt, Key, Phase
from mythjobs.agent.core.turn import Turn
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# The reaper and the journal are told of a longer lease when it has grown so much, or by this
# share: sooner costs a write every heartbeat, later a job its life when the agent is away.
_GROWN_MS: Final = 60_000
_GROWN_SHARE: Final = 8
# Acts reach eight days ahead, and are told anew well before that is used up.
_STALE_MS: Final = 86_400_000
_STEP_MS: Final = 1000

_RUNS: Final = (Phase.STARTING, Phase.RUNNING)


class Enforcer:
    """Part of the core. `told` is, by attempt, the lease end that the reaper acts by."""

    def __init__(self, roster: Roster, turn: Turn) -> None:
        self._roster = roster
        self._turn = turn
        # Wall clock minus steady clock, and when (steady) the acts were last worked out.
        self._offset_ms: int | None = None
        self._told_ms = 0

    def renew(self, sent_ms: int, held: Collection[Key], excepted: Iterable[Key], now: Now) -> None:
        """The master answered a heartbeat that was sent then and told of these."""
        barred = set(excepted)
        for attempt in self._roster.leased:
            if attempt.key in held and attempt.key not in barred:
                self.lengthen(attempt, sent_ms, now)

    def lengthen(self, attempt: Attempt, sent_ms: int, now: Now) -> None:
        lease_s = attempt.terms.lease_s
        if lease_s is None:
            return
        attempt.terms = attempt.terms.renewed(sent_ms)
        grown_ms = attempt.terms.end_ms - attempt.told_end_ms
        if grown_ms >= min(_GROWN_MS, lease_s * 1000 / _GROWN_SHARE):
            attempt.told_end_ms = attempt.terms.end_ms
            self._turn.renewed(attempt)
            self._tell(attempt, now)

    def hours(self, key: Key, said: m.Hours | None, now: Now) -> None:
        """Other hours for what is held."""
        attempt = self._roster.attempts.get(key)
        if attempt is None or attempt.phase >= Phase.OVER:
            return
        hours = t.hours_from(said)
        if hours == attempt.terms.hours:
            return
        if said is not None and not self._roster.knows(hours, now):
            # A zone that is not known here: it goes on by the hours that it has.
            return
        self._roster.set_terms(attempt, attempt.terms._replace(hours=hours))
        self._turn.rehoured(attempt)
        self._tell(attempt, now)

    def limits(self, said: m.LimitsChanged) -> None:
        """Other limits for what is held. What runs keeps them also if we die: its reaper has them,
        and the master tells them again on a new connection."""
        attempt = self._roster.attempts.get((said.job, said.n))
        if attempt is None or attempt.phase >= Phase.OVER:
            return
        limits: dict[str, Any] = {name: getattr(said, name) for name in m.LIMITS}
        if attempt.run is not None:
            attempt.run = msgspec.structs.replace(attempt.run, **limits)
        if attempt.phase in _RUNS:
            message = {"type": "limits", "job": said.job, "n": said.n, **limits}
            self._turn.tell(attempt.reaper, message)

    def freeze(self, key: Key, holder: str, on: bool) -> None:
        attempt = self._roster.attempts.get(key)
        if attempt is None or attempt.phase >= Phase.OVER:
            return
        if on:
            attempt.wanted.add(holder)
        else:
            attempt.wanted.discard(holder)
        if attempt.phase in _RUNS:
            self._tell_freeze(attempt, holder, on)

    def running(self, attempt: Attempt) -> None:
        """Its process exists, and a reaper has it: also one whose agent before us died."""
        for holder in sorted(attempt.wanted - set(attempt.holders)):
            self._tell_freeze(attempt, holder, True)

    def again(self, reaper: str, now: Now) -> None:
        """A reaper is connected anew; an agent before us may have died while the clock stepped."""
        for attempt in self._roster.termed:
            if attempt.reaper == reaper:
                self._tell(attempt, now)

    def check(self, now: Now) -> None:
        """Once a second while anything is held on terms: a second pair of eyes on leases, and
        the first on clocks that step."""
        for attempt in self._roster.leased:
            kill_ms = attempt.terms.kill_ms
            if attempt.phase in _RUNS and kill_ms is not None and now.steady_ms >= kill_ms:
                if not attempt.stopped:
                    attempt.stopped = True
                    self._stop(attempt)
        offset_ms = now.wall_ms - now.steady_ms
        stepped = self._offset_ms is not None and abs(offset_ms - self._offset_ms) >= _STEP_MS
        if self._offset_ms is None or stepped or now.steady_ms - self._told_ms >= _STALE_MS:
            self._offset_ms, self._told_ms = offset_ms, now.steady_ms
            for attempt in self._roster.termed:
                if attempt.terms.hours is not None:
                    self._tell(attempt, now)

    def _tell(self, attempt: Attempt, now: Now) -> None:
        if attempt.phase not in _RUNS:
            return
        job, n = attempt.key
        acts = t.acts(attempt.terms, now, attempt.holders)
        self._turn.tell(attempt.reaper, {"type": "acts", "job": job, "n": n, "acts": acts})

    def _tell_freeze(self, attempt: Attempt, holder: str, on: bool) -> None:
        job, n = attempt.key
        self._turn.tell(
            attempt.reaper, {"type": "freeze", "job": job, "n": n, "holder": holder, "on": on}
        )

    def _stop(self, attempt: Attempt) -> None:
        job, n = attempt.key
        self._turn.tell(attempt.reaper, {"type": "stop", "job": job, "n": n, "by": t.BY_LEASE})
