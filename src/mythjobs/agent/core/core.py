"""What the agent knows and decides. Synchronous: a message and `now` in, actions out.

It waits for nothing and touches nothing; `serve.py` carries out what it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mythjobs.agent.core import outcome
from mythjobs.agent.core.admission import Roster
from mythjobs.agent.core.attempt import Attempt, Key, Output, Phase
from mythjobs.agent.core.lease_terms import Terms, hours_from
from mythjobs.agent.core.leases import Enforcer
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.status import Said, read_status
from mythjobs.agent.core.turn import Action, Follow, Transfer, Turn
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease import start_by_ms

# Somebody deleted it. That nothing runs any more cannot be shown then, and is not claimed.
_NO_JOURNAL: Final = "the reaper died, and its journal is gone"


class Found(NamedTuple):
    """What the agent's journal tells. `granted` maps to the terms it was granted on; the `lost`
    may have run before this boot."""

    granted: Mapping[Key, Terms]
    never: Iterable[Key]
    lost: Iterable[Key]


class _Sent(NamedTuple):
    """A heartbeat: when it was sent, on the steady clock, and what it told of."""

    at_ms: int
    held: frozenset[Key]


_NONE: Final[frozenset[Key]] = frozenset()


class Core:
    def __init__(self, base_env: Mapping[str, str], *, jobs: int | None = None) -> None:
        self._most = jobs
        self._out = Outbox()
        self._turn = Turn()
        self._roster = Roster(base_env, self._turn, self._out)
        self._lost: set[Key] = set()
        self._enforcer = Enforcer(self._roster, self._turn)
        # The last two heartbeats: leases count from when they were sent.
        self._sent: dict[int, _Sent] = {}
        # Heartbeats that were due on this connection since the master last answered one. While
        # it acknowledges nothing they are not even sent.
        self.unanswered = 0
        self._seen = 0
        # The last grant of this connection: what comes twice must not run twice.
        self._granted = 0
        self._stopping = ""

    # The agent's start.

    def found(self, found: Found) -> None:
        """The first thing a new agent knows."""
        for key, terms in found.granted.items():
            attempt = self._roster.new(key, Phase.FOUND)
            self._roster.set_terms(attempt, terms)
            attempt.told_end_ms = terms.end_ms
        for key in found.never:
            self._roster.new(key, Phase.RETURNED).reason = "this machine gave it back"
        self._lost = set(found.lost)

    def adopted(self, now: Now) -> list[Action]:
        """Every reaper has been heard, or read. What none of them knows was never started, but
        if the machine restarted: then a power cut may have taken the note of its start."""
        for attempt in self._of(Phase.FOUND):
            if attempt.key in self._lost:
                left = outcome.Left(
                    attempt.key, None, [], "the machine's boot id", outcome.RESTARTED
                )
                self._roster.over(attempt, outcome.lost(attempt.key, now, left))
                self._roster.report(attempt)
            else:
                self._roster.never(attempt, "the agent restarted before it was started")
        return self._turn.take()

    # The link.

    def connected(self, jobs: int) -> None:
        """A new connection, with the master's ceiling: all that is held is said again."""
        self._turn.connection += 1
        self._seen = self._granted = 0
        self._sent.clear()
        self.unanswered = 0
        self._settings(jobs)
        self._out.reset(self._roster.attempts.values())

    def beat(self, now: Now) -> list[Action]:
        """A heartbeat is due."""
        self.unanswered += 1
        self._out.heartbeat()
        return self.check(now)

    def check(self, now: Now) -> list[Action]:
        """Time has passed: leases may be over, hours have opened, the clock may have stepped."""
        for attempt in self._of(Phase.WAITING):
            if now.steady_ms >= attempt.start_by_ms:
                self._roster.never(attempt, "it could not be started in time")
        self._enforcer.check(now)
        return self._done(now)

    @property
    def on_terms(self) -> bool:
        """Whether something here must be looked after by the clock."""
        return bool(self._roster.termed)

    def frame(self, now: Now) -> m.AgentFrame | None:
        """The next frame, if there is something to say and it may be said now. To be sent at
        once: leases count from here."""
        taken = self._out.take(
            now,
            seen=self._seen,
            room=0 if self._stopping else self._roster.free,
            known=self._roster.attempts.values(),
        )
        if taken is None:
            return None
        frame, hb = taken
        if self._stopping:
            frame = msgspec.structs.replace(frame, draining=True)
        if hb is not None:
            held = next(each for each in frame.messages if isinstance(each, m.Heartbeat)).held
            # Only what it tells of is renewed by its answer: of what is granted meanwhile the
            # master counts from an earlier one.
            keys = frozenset((each.job, each.n) for each in held) if self._roster.leased else _NONE
            self._sent[hb] = _Sent(now.steady_ms, keys)
            self._sent.pop(hb - 2, None)
        return frame

    def wake_ms(self) -> int | None:
        """When, on the steady clock, `frame` will have something that it holds back now."""
        return self._out.wake_ms()

    def on_master(self, frame: m.MasterFrame, now: Now) -> list[Action]:
        for attempt in self._out.acknowledge(frame.ack):
            attempt.acked = True
            self._roster.forget_if_done(attempt)
        for message in frame.messages:
            match message:
                case m.Grant():
                    self._grant(message, now)
                case m.Renew():
                    self.unanswered = 0
                    if sent := self._sent.get(message.hb):
                        self._enforcer.renew(sent.at_ms, sent.held, message.excepted, now)
                case m.HoursChanged():
                    self._enforcer.hours((message.job, message.n), message.hours, now)
                case m.LimitsChanged():
                    self._enforcer.limits(message)
                case m.Freeze():
                    self._enforcer.freeze((message.job, message.n), message.holder, message.on)
                case m.Stop():
                    self._stop((message.job, message.n), message.by)
                case m.Stale():
                    self._stale((message.job, message.n))
                case m.Settings():
                    self._settings(message.jobs)
                case m.OutputKept():
                    self._kept((message.job, message.n), message.stream)
                case _:
                    self._turn.do(Transfer(message))
        return self._done(now)

    def output_end(self, end: m.OutputEnd) -> None:
        self._out.output_end(end)

    def journalled(self, token: int, now: Now) -> list[Action]:
        """Records up to this one are durable: what they bar is given back."""
        for pending in self._turn.durable(token):
            for attempt in pending.never:
                if attempt.phase is Phase.NEVER:
                    attempt.phase = Phase.RETURNED
                    self._out.final(attempt)
            if pending.seen and pending.connection == self._turn.connection:
                self._seen = pending.seen
        return self._done(now)

    # Reapers.

    def use_reaper(self, reaper: str, now: Now) -> list[Action]:
        """This one gets the starts from now on."""
        self._roster.reaper = reaper
        return self._done(now)

    def on_hello(
        self, reaper: str, attempts: Sequence[Any], starting: Iterable[Key], now: Now
    ) -> list[Action]:
        """A living reaper says all it has, also what an agent before us had it start.
        `starting` is what its journal has beside: it is about to make their processes."""
        has = {(each["job"], each["n"]) for each in attempts}
        self._roster.reaper_lives(reaper, has, starting, now)
        self._hear(reaper, attempts)
        self._roster.watch_again(reaper)
        self._enforcer.again(reaper, now)
        return self._done(now)

    def on_reaper(self, reaper: str, messages: Sequence[Any], now: Now) -> list[Action]:
        self._hear(reaper, messages)
        return self._done(now)

    def reaper_died(
        self, reaper: str, ended: Sequence[Any], left: Sequence[outcome.Left], now: Now
    ) -> list[Action]:
        """Its journal is read and durable, and nothing is left of what it had running."""
        for each in ended:
            self._over(reaper, each)
        for each in left:
            attempt = self._roster.running(reaper, each.key, each.started_ms)
            if attempt.phase is Phase.RUNNING:
                self._roster.over(attempt, outcome.lost(each.key, now, each))
        for attempt in self._roster.of(reaper):
            if attempt.phase is Phase.OVER:
                self._roster.report(attempt)
            elif attempt.phase is Phase.STARTING:
                # The journal is final and has no start of it: there was no process.
                self._roster.not_started(attempt)
            elif attempt.phase is Phase.RUNNING:
                gone = outcome.Left(attempt.key, attempt.started_ms, [], "", _NO_JOURNAL)
                self._roster.over(attempt, outcome.lost(attempt.key, now, gone))
                self._roster.report(attempt)
        told = {(each["job"], each["n"]) for each in ended} | {each.key for each in left}
        self._roster.reaper_died(reaper, told)
        return self._done(now)

    def watch(self, key: Key, change: int) -> list[Action]:
        """So many more, or less, follow the output of this attempt."""
        if attempt := self._roster.attempts.get(key):
            self._roster.watch(attempt, change)
        return self._turn.take()

    def progress(self, key: Key, percent: float) -> None:
        """Read from its output."""
        attempt = self._roster.attempts.get(key)
        # Also when its end is durable already: it goes before the end into the same frame.
        if attempt is not None and attempt.phase <= Phase.REPORTED and not attempt.acked:
            self._roster.say(attempt, (attempt.said or Said())._replace(percent=percent))

    # The agent's end.

    def stop_all(self, by: str) -> list[Action]:
        """Take no more grants, give back what has not started, end what runs."""
        self._stopping = by
        for attempt in list(self._roster.attempts.values()):
            if attempt.phase < Phase.OVER:
                self._stop(attempt.key, by)
        return self._turn.take()

    @property
    def running(self) -> int:
        return self._roster.busy

    @property
    def unsaid(self) -> int:
        """Attempts that the master has yet to acknowledge, or whose output it has yet to take."""
        return len(self._roster.attempts)

    def known(self) -> set[Key]:
        return set(self._roster.attempts)

    def get(self, key: Key) -> Attempt | None:
        return self._roster.attempts.get(key)

    def snapshot(self) -> Found:
        """All that a journal written anew must hold."""
        attempts = self._roster.attempts.values()
        barred = (Phase.NEVER, Phase.RETURNED)
        return Found(
            {each.key: each.terms for each in attempts if each.phase not in barred},
            [each.key for each in attempts if each.phase in barred],
            [key for key in self._lost if key in self._roster.attempts],
        )

    # What each message means.

    def _done(self, now: Now) -> list[Action]:
        self._roster.start_more(now)
        return self._turn.take()

    def _of(self, phase: Phase) -> list[Attempt]:
        return [each for each in self._roster.attempts.values() if each.phase is phase]

    def _settings(self, jobs: int) -> None:
        self._roster.ceiling = jobs if self._most is None else min(jobs, self._most)

    def _grant(self, message: m.Grant, now: Now) -> None:
        if message.no <= self._granted:
            return
        self._granted = message.no
        self._turn.saw(message.no)
        key = (message.job, message.n)
        sent = self._sent.get(message.hb)
        if (held := self._roster.attempts.get(key)) is not None:
            # Offered again: it is held, or the mark against it is on its way.
            if sent is not None:
                self._enforcer.lengthen(held, sent.at_ms, now)
            return
        if self._stopping:
            reason = "the machine ends its jobs"
        elif sent is None or now.steady_ms >= start_by_ms(sent.at_ms, message.start_by_s):
            reason = "the grant came too late"
        elif not self._roster.knows(hours_from(message.hours), now):
            zone = message.hours.zone if message.hours else ""
            reason = f"the time zone {zone} is not known here; install tzdata"
        else:
            self._roster.grant(message, sent.at_ms)
            return
        self._roster.never(self._roster.new(key, Phase.FOUND), reason)

    def _stop(self, key: Key, by: str) -> None:
        attempt = self._roster.attempts.get(key)
        if attempt is None:
            # Not held, so not started: sworn and answered all the same.
            attempt = self._roster.new(key, Phase.FOUND)
        if attempt.phase in (Phase.STARTING, Phase.RUNNING):
            job, n = key
            self._turn.tell(attempt.reaper, {"type": "stop", "job": job, "n": n, "by": by})
        elif attempt.phase < Phase.STARTING:
            self._roster.never(attempt, f"stopped by {by}")

    def _stale(self, key: Key) -> None:
        attempt = self._roster.attempts.get(key)
        if attempt is None:
            return
        if attempt.phase in (Phase.STARTING, Phase.RUNNING):
            self._stop(key, "stale")
        elif attempt.phase is not Phase.OVER:
            # Nothing runs; a restarted agent starts nothing of an old journal either.
            self._roster.forget(attempt)

    def _kept(self, key: Key, stream: int) -> None:
        attempt = self._roster.attempts.get(key)
        if attempt is not None and attempt.streams:
            attempt.streams.discard(stream)
            self._roster.forget_if_done(attempt)

    def _hear(self, reaper: str, messages: Sequence[Any]) -> None:
        roster = self._roster
        for each in messages:
            kind = each["type"]
            if kind == "synced":
                roster.synced(reaper, each["seq"])
                continue
            key = (each["job"], each["n"])
            if kind == "started":
                self._started(roster.running(reaper, key, each["at_ms"]))
            elif kind == "frozen":
                self._frozen(key, tuple(each["holders"]))
            elif kind == "ended":
                roster.unsynced(reaper, each["seq"], self._over(reaper, each))
            elif kind == "grew":
                self._grew(key, each["output"])
            elif kind == "status":
                if attempt := roster.attempts.get(key):
                    roster.say(attempt, read_status(attempt.said or Said(), each["lines"]))

    def _started(self, attempt: Attempt) -> None:
        if attempt.phase is Phase.RUNNING:
            self._out.started(attempt)
            self._enforcer.running(attempt)
            if attempt.watchers and not attempt.progress:
                # Somebody began to follow it before there was anything to follow.
                self._roster.tell_watch(attempt)

    def _over(self, reaper: str, ended: Any) -> Attempt:
        key = (ended["job"], ended["n"])
        attempt = self._roster.running(reaper, key, ended["started_ms"])
        if attempt.phase is Phase.RUNNING:
            self._roster.over(attempt, outcome.from_reaper(ended, attempt.terms))
        return attempt

    def _frozen(self, key: Key, holders: tuple[str, ...]) -> None:
        attempt = self._roster.attempts.get(key)
        if attempt is not None and attempt.phase < Phase.OVER and attempt.holders != holders:
            attempt.holders = holders
            self._out.frozen(attempt)

    def _grew(self, key: Key, output: Output) -> None:
        if attempt := self._roster.attempts.get(key):
            attempt.output = output
            self._turn.do(Follow(attempt))
