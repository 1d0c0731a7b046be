"""The attempts that this machine has, and each step of theirs from grant to oblivion."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping

from mythjobs.agent.core.attempt import Attempt, Key, Phase
from mythjobs.agent.core.lease_terms import Terms, acts, terms_of
from mythjobs.agent.core.outbox import Outbox
from mythjobs.agent.core.start import start_message
from mythjobs.agent.core.status import Said
from mythjobs.agent.core.turn import Bury, Drop, Follow, Turn
from mythjobs.clock import Now
from mythjobs.model.window import Hours
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease import start_by_ms
from mythjobs.protocol.messages import CLOSED
from mythjobs.scheduler.capacity import room
from mythjobs.scheduler.window_state import Opening, opening


class Openings:
    """What hours say is worked out once, and again when it changes or the clock steps."""

    def __init__(self) -> None:
        self._known: dict[Hours, Opening] = {}

    def opening(self, hours: Hours, wall_ms: int) -> Opening:
        """Raises ValueError for a zone that this machine does not know."""
        found = self._known.get(hours)
        if found is None or not found.holds(wall_ms):
            if len(self._known) > 1000:
                self._known.clear()
            found = self._known[hours] = opening(hours, wall_ms)
        return found

    def lets(self, terms: Terms, busy: int, others: Iterable[str], wall_ms: int) -> bool:
        """`busy` attempts run here, `others` are the commands of those whose names are known.
        The level of the machine's hours counts all, those of the command its own."""
        if terms.hours is None:
            return True
        levels = self.opening(terms.hours, wall_ms)
        if not levels.open or busy >= levels.machine:
            return False
        least = min(levels.command, levels.both)
        return sum(each == terms.command for each in others) < least


class Roster:
    """Part of the core. What its steps ask for gathers in `turn` and `out`."""

    def __init__(self, base_env: Mapping[str, str], turn: Turn, out: Outbox) -> None:
        self._base_env = base_env
        self._turn = turn
        self._out = out
        self.attempts: dict[Key, Attempt] = {}
        # (-priority, job, n): the order in which they start. What is no longer WAITING is
        # passed over when it comes up.
        self._queue: list[tuple[int, int, int]] = []
        self._waiting = 0
        self.busy = 0
        self.ceiling = 0
        # The reaper that gets new starts.
        self.reaper: str | None = None
        # By reaper: ends that are not yet durable, in the order of their seq.
        self._unsynced: dict[str, deque[tuple[int, Attempt]]] = {}
        # By dead reaper: what its journal tells and the master has not acknowledged.
        self._dead: dict[str, set[Key]] = {}
        # Those that are held on terms, and of them those with a lease that ends.
        self.termed: dict[Attempt, None] = {}
        self.leased: dict[Attempt, None] = {}
        self._openings = Openings()

    def new(self, key: Key, phase: Phase) -> Attempt:
        attempt = self.attempts[key] = Attempt(key, phase)
        return attempt

    def of(self, reaper: str) -> Iterable[Attempt]:
        return [each for each in self.attempts.values() if each.reaper == reaper]

    @property
    def free(self) -> int:
        """How many more grants would start at once."""
        return room(self.ceiling, self.busy + self._waiting)

    def set_terms(self, attempt: Attempt, terms: Terms) -> None:
        attempt.terms = terms
        self._drop_terms(attempt)
        if terms.lease_s is not None or terms.hours is not None:
            self.termed[attempt] = None
        if terms.lease_s is not None:
            self.leased[attempt] = None

    def _drop_terms(self, attempt: Attempt) -> None:
        self.termed.pop(attempt, None)
        self.leased.pop(attempt, None)

    def knows(self, hours: Hours | None, now: Now) -> bool:
        """Whether these can be told here: they name a zone, and machines know different ones."""
        try:
            return hours is None or bool(self._openings.opening(hours, now.wall_ms))
        except ValueError:
            return False

    # Before its start.

    def grant(self, message: m.Grant, sent_ms: int) -> None:
        """It may start as soon as its note is written: the kernel keeps that if we die. A power cut
        may take it, but then the boot id says that whatever was granted here may have run."""
        attempt = self.new((message.job, message.n), Phase.WAITING)
        attempt.priority = message.priority
        attempt.run = message.run
        attempt.start_by_ms = start_by_ms(sent_ms, message.start_by_s)
        self.set_terms(attempt, terms_of(message, sent_ms))
        attempt.told_end_ms = attempt.terms.end_ms
        self._turn.granted(attempt)
        self.wait(attempt)

    def wait(self, attempt: Attempt) -> None:
        attempt.phase = Phase.WAITING
        attempt.reaper = ""
        self._waiting += 1
        heapq.heappush(self._queue, (-attempt.priority, *attempt.key))

    def never(self, attempt: Attempt, reason: str, code: str = "") -> None:
        """It will not be started; the master hears of it once that is durable."""
        self._waiting -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.NEVER
        attempt.reason, attempt.code = reason, code
        attempt.run = None
        self._drop_terms(attempt)
        self._turn.never(attempt)

    def start_more(self, now: Now) -> None:
        """Start what waits, the highest priority first, while there is room."""
        if self.reaper is None or not self._waiting:
            return
        free = room(self.ceiling, self.busy)
        later = []
        while free and self._queue:
            place = heapq.heappop(self._queue)
            attempt = self.attempts.get(place[1:])
            if attempt is None or attempt.phase is not Phase.WAITING or attempt.run is None:
                continue
            if now.steady_ms >= attempt.start_by_ms:
                self.never(attempt, "it could not be started in time")
                continue
            if self._shut_too_long(attempt, now):
                # The master's clock says otherwise. Elsewhere it may run meanwhile.
                self.never(attempt, "its hours are closed by this machine's clock", CLOSED)
                continue
            if attempt.wanted or not self._is_open(attempt, now):
                later.append(place)
                continue
            free -= 1
            self._waiting -= 1
            self.busy += 1
            attempt.phase = Phase.STARTING
            attempt.reaper = self.reaper
            attempt.watchers += bool(attempt.progress)
            self._start_on(self.reaper, attempt, attempt.run, now)
        for place in later:
            heapq.heappush(self._queue, place)

    def _is_open(self, attempt: Attempt, now: Now) -> bool:
        terms = attempt.terms
        if terms.hours is None:
            return True
        runs = (Phase.STARTING, Phase.RUNNING)
        others = (each.terms.command for each in self.termed if each.phase in runs)
        return self._openings.lets(terms, self.busy, others, now.wall_ms)

    def _shut_too_long(self, attempt: Attempt, now: Now) -> bool:
        """Whether its hours are closed, and will not open before it must have started."""
        hours = attempt.terms.hours
        if hours is None:
            return False
        found = self._openings.opening(hours, now.wall_ms)
        if found.open:
            return False
        left_ms = attempt.start_by_ms - now.steady_ms
        return found.opens_ms is None or found.opens_ms >= now.wall_ms + left_ms

    def _start_on(self, reaper: str, attempt: Attempt, run: m.Run, now: Now) -> None:
        todo = acts(attempt.terms, now) if attempt in self.termed else []
        self._turn.tell(reaper, start_message(attempt.key, run, self._base_env, todo))

    def not_started(self, attempt: Attempt) -> None:
        """Its reaper died without a trace of it: there was no process, it may be started."""
        self.busy -= 1
        attempt.watchers -= bool(attempt.progress)
        if attempt.run is None:
            self.never(attempt, "its reaper died before it was started")
        else:
            self.wait(attempt)

    # While it runs, and its end.

    def running(self, reaper: str, key: Key, started_ms: int | None) -> Attempt:
        """Its process exists, or did. It may be one that an agent before us had started."""
        attempt = self.attempts.get(key) or self.new(key, Phase.FOUND)
        if attempt.phase < Phase.RUNNING or attempt.phase >= Phase.NEVER:
            self.busy += attempt.phase is not Phase.STARTING
            attempt.phase = Phase.RUNNING
            attempt.reaper = reaper
            attempt.started_ms = started_ms
            attempt.run = None
        return attempt

    def over(self, attempt: Attempt, end: m.Ended) -> None:
        """Its process is gone, its slot is free."""
        self.busy -= attempt.phase is Phase.RUNNING
        attempt.phase = Phase.OVER
        self._drop_terms(attempt)
        attempt.end = end
        attempt.output = end.output
        if end.output:
            streams = {no for no, (written, *_) in enumerate(end.output, 1) if written}
            attempt.streams = streams or None
        if attempt.watchers:
            # However it ended: who follows it is waiting for that.
            self._turn.do(Follow(attempt))

    def synced(self, reaper: str, seq: int) -> None:
        unsynced = self._unsynced[reaper]
        while unsynced and unsynced[0][0] <= seq:
            self.report(unsynced.popleft()[1])

    def unsynced(self, reaper: str, seq: int, attempt: Attempt) -> None:
        self._unsynced[reaper].append((seq, attempt))

    def report(self, attempt: Attempt) -> None:
        """Its outcome is durable here."""
        if attempt.phase is Phase.OVER:
            attempt.phase = Phase.REPORTED
            self._out.final(attempt)

    def say(self, attempt: Attempt, said: Said) -> None:
        if said != attempt.said:
            attempt.said = said
            self._out.progress(attempt)

    def watch(self, attempt: Attempt, change: int) -> None:
        """So many more, or less, want to know when its output grows."""
        attempt.watchers += change
        # Also for a second watcher: the reaper answers with how much there is by now.
        if attempt.phase is Phase.RUNNING and (change > 0 or not attempt.watchers):
            self.tell_watch(attempt)

    def tell_watch(self, attempt: Attempt) -> None:
        job, n = attempt.key
        on = attempt.watchers > 0
        self._turn.tell(attempt.reaper, {"type": "watch", "job": job, "n": n, "on": on})

    # Until nobody needs it.

    def forget_if_done(self, attempt: Attempt) -> None:
        if attempt.acked and not attempt.streams:
            self.forget(attempt)

    def forget(self, attempt: Attempt) -> None:
        key = attempt.key
        if self.attempts.pop(key, None) is None:
            return
        self._waiting -= attempt.phase is Phase.WAITING
        attempt.phase = Phase.FORGOTTEN
        self._drop_terms(attempt)
        self._out.forget(attempt)
        self._turn.over(key)
        if attempt.end is not None and attempt.end.output:
            self._turn.do(Drop(key, attempt.end.output))
        reaper = attempt.reaper
        if reaper in self._dead:
            self._dead[reaper].discard(key)
            self._bury_if_done(reaper)
        elif reaper:
            self._turn.acknowledge(reaper, key)

    # Reapers.

    def reaper_lives(self, reaper: str, has: set[Key], starting: Iterable[Key], now: Now) -> None:
        """It says that it `has` these; those that are `starting` have no process yet."""
        self._unsynced[reaper] = deque()
        for key in starting:
            attempt = self.attempts.get(key) or self.new(key, Phase.FOUND)
            if attempt.phase is Phase.FOUND and key not in has:
                attempt.phase = Phase.STARTING
                attempt.reaper = reaper
                self.busy += 1
        for attempt in self.of(reaper):
            if attempt.phase is Phase.STARTING and attempt.run and attempt.key not in has:
                # The connection may have broken before it came over; twice does no harm.
                self._start_on(reaper, attempt, attempt.run, now)

    def watch_again(self, reaper: str) -> None:
        """A new connection: a reaper tells of growing output only where it was asked to."""
        for attempt in self.of(reaper):
            if attempt.phase is Phase.RUNNING:
                attempt.watchers += bool(attempt.progress and not attempt.watchers)
                if attempt.watchers:
                    self.tell_watch(attempt)

    def reaper_died(self, reaper: str, told: set[Key]) -> None:
        """`told` is what its journal tells; the directory goes when all of it is forgotten."""
        self._unsynced.pop(reaper, None)
        if self.reaper == reaper:
            self.reaper = None
        self._dead[reaper] = told & self.attempts.keys()
        self._bury_if_done(reaper)

    def _bury_if_done(self, reaper: str) -> None:
        if not self._dead[reaper]:
            del self._dead[reaper]
            self._turn.do(Bury(reaper))
