"""The attempts of one reaper: what is journalled and said of each while the keeper keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from mythjobs.model.limits import Limits
from mythjobs.model.outcome import NotStarted, Stopped
from mythjobs.process import procfs
from mythjobs.process.procfs import Key
from mythjobs.process.reaper import messages
from mythjobs.process.reaper.attempt import Attempt
from mythjobs.process.reaper.journal import Journal
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.process.reaper.scribe import Scribe
from mythjobs.process.reaper.timed_actions import STOP, THAW, Act, Acts
from mythjobs.process.reaper.updates import News
from mythjobs.process.spawn.errors import at_preparing
from mythjobs.process.spawn.pool import Spawners
from mythjobs.process.supervise.descendants import Adopted
from mythjobs.process.supervise.loop import Loop, log
from mythjobs.process.supervise.supervisor import Keeper


class Attempts:
    """`live` are those without an end, `ends` those whose end is not acknowledged, as text."""

    def __init__(
        self,
        loop: Loop,
        journal: Journal,
        spawners: Spawners,
        say: Callable[[str], None],
        news: News,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._spawners = spawners
        self._say = say
        self._news = news
        self._scribe = Scribe()
        self.seq = 0
        self._wanted: list[Attempt] = []
        self.live: dict[Key, Attempt] = {}
        self.ends: dict[Key, str] = {}
        # The number of the last end that the journal has yet to make durable.
        self.unsynced = 0
        self._keeper = Keeper(loop, spawners, self)
        self._keeper.clearing.kin = Adopted(self._keeper.leaders, self._by_mark)
        self.orphans_changed = self._keeper.clearing.orphans_changed
        self._acts = Acts(loop, self._carry_out)

    def _by_mark(self, pid: int) -> Attempt | None:
        key = procfs.mark_of(pid)
        return self.live.get(key) if key else None

    def close(self) -> None:
        self._acts.close()
        self._keeper.close()

    # Asked for.

    def start(self, attempt: Attempt) -> None:
        """It is spawned after this turn's journal is written: see spawn_wanted()."""
        if attempt.key in self.live or attempt.key in self.ends:
            return
        self.live[attempt.key] = attempt
        if attempt.acts:
            self._acts.replace(attempt.key, attempt.acts)
        self._journal.append(messages.start_line(attempt.key))
        self._wanted.append(attempt)

    def spawn_wanted(self) -> None:
        for attempt in self._wanted:
            try:
                then = partial(self._loop.call_soon, partial(self._written, attempt))
                attempt.make_streams(self._scribe, then)
            except OSError as error:
                what = at_preparing(error, "a pipe for its output")
                self._keeper.refuse(attempt, what.outcome())
            else:
                self._keeper.spawn(attempt)
        self._wanted.clear()

    def refuse_wanted(self, error: OSError) -> None:
        """What cannot be remembered must not be started."""
        sentence = f"the journal of its machine: {os.strerror(error.errno or 0)}"
        for attempt in self._wanted:
            self._keeper.refuse(attempt, NotStarted(error.errno or 0, sentence))
        self._wanted.clear()

    def stop(self, key: Key, by: str, grace_s: float | None = None) -> None:
        if attempt := self.live.get(key):
            self._keeper.stop(attempt, Stopped(by), grace_s)

    def watch(self, key: Key, on: bool) -> None:
        if attempt := self.live.get(key):
            attempt.watch = on
            if on:
                self._news.grew(attempt)

    def hold(self, key: Key, holder: str, on: bool) -> None:
        if attempt := self.live.get(key):
            before = set(attempt.holders)
            self._keeper.hold(attempt, holder, on)
            if attempt.known and attempt.holders != before:
                self._say(messages.frozen(attempt))

    def limit(self, key: Key, limits: Limits) -> None:
        if attempt := self.live.get(key):
            self._keeper.change(attempt, limits)

    def replace_acts(self, key: Key, acts: list[Act]) -> None:
        if key in self.live:
            self._acts.replace(key, acts)

    def _carry_out(self, key: Key, act: Act) -> None:
        if act.act == STOP:
            self.stop(key, act.by, act.grace_s)
        else:
            self.hold(key, act.by, act.act != THAW)

    def acknowledged(self, keys: list[Key]) -> None:
        gone = [key for key in keys if self.ends.pop(key, None) is not None]
        if gone:
            self._journal.append(messages.ack_line(gone))

    # What is known.

    def journal_lines(self) -> list[str]:
        """What a journal must say now, if it says nothing else."""
        lines = [f'{{"end":{text}}}' for text in self.ends.values()]
        for attempt in self.live.values():
            lines.append(messages.start_line(attempt.key))
            if attempt.known:
                lines.append(messages.spawned_line(attempt))
        return lines

    def told(self) -> list[str]:
        """All there is to tell a new agent."""
        known = [each for each in self.live.values() if each.known]
        return [
            *map(messages.started, known),
            *self.ends.values(),
        ]

    def frozen(self) -> list[str]:
        return [messages.frozen(each) for each in self.live.values() if each.known and each.holders]

    # The keeper tells (Owner).

    def spawned(self, attempt: Attempt) -> None:
        self._journal.append(messages.spawned_line(attempt))
        self._say(messages.started(attempt))
        if attempt.holders:
            self._say(messages.frozen(attempt))

    def lasting(self, attempt: Attempt) -> None:
        self._news.follow(attempt)

    def let_go(self, attempt: Attempt) -> None:
        if attempt.known:
            self._say(messages.frozen(attempt))

    def _written(self, attempt: Attempt) -> None:
        if attempt.ending_waits:
            self.over(attempt)
        elif attempt.watch and attempt.key in self.live:
            self._news.grew(attempt)

    def over(self, attempt: Attempt) -> None:
        attempt.ending_waits = any(each.busy for each in attempt.spools)
        if attempt.ending_waits:
            return
        self._news.last(attempt)
        for stream in attempt.streams:
            stream.sink.close()
        if attempt.scratch_path:
            self._spawners.do(partial(_remove, attempt.scratch_path))
        self._acts.forget(attempt.key)
        self.seq += 1
        self.unsynced = self.seq
        text = messages.ended(attempt, self.seq, self._loop.now.wall_ms)
        self._journal.append(f'{{"end":{text}}}')
        self._say(text)
        del self.live[attempt.key]
        self.ends[attempt.key] = text


def _remove(path: str, _: object) -> None:
    if not remove_tree(path):
        log(f"{path} could not be removed as a whole")
