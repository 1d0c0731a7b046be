"""The attempts of one reaper, from start to end: what happens to each, and what is said of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.model.outcome import Breached, NotStarted, Outcome, Stopped
from mythjobs.process import drain, orphans, report, tree
from mythjobs.process.attempt import Attempt, Places, make_streams, remove_scratch, start
from mythjobs.process.journal import Journal
from mythjobs.process.loop import Loop
from mythjobs.process.news import News
from mythjobs.process.refusal import at_preparing
from mythjobs.process.spawn import Spawn
from mythjobs.process.spawners import Spawners
from mythjobs.process.tree import Key, Process

# A job that ends within this time is drained once, at its end; only a longer one has its
# pipes watched meanwhile. It saves the short ones four system calls and a wake-up.
_WATCHED_AFTER_MS: Final = 10
# How long we wait for what should be a matter of microseconds: that killed processes are
# gone, and that the pipe they held comes to its end.
_PATIENCE_MS: Final = 2000


class Attempts:
    """`live` are those without an end, `ends` those whose end is not acknowledged, as text."""

    def __init__(
        self,
        loop: Loop,
        journal: Journal,
        spawners: Spawners,
        places: Places,
        say: Callable[[str], None],
        news: News,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._spawners = spawners
        self._places = places
        self._say = say
        self._news = news
        self._seq = 0
        self._wanted: list[Attempt] = []
        self._leaders: dict[int, Attempt] = {}
        # Their leader is dead, and something it left behind is not, yet.
        self._clearing: dict[Key, Attempt] = {}
        self._watched: set[int] = set()
        self.live: dict[Key, Attempt] = {}
        self.ends: dict[Key, str] = {}
        # The number of the last end that the journal has yet to make durable.
        self.unsynced = 0

    # Asked for.

    def start(self, attempt: Attempt) -> None:
        """It is spawned after this turn's journal is written: see spawn_wanted()."""
        if attempt.key in self.live or attempt.key in self.ends:
            return
        self.live[attempt.key] = attempt
        self._journal.append(report.start_line(attempt.key))
        self._wanted.append(attempt)

    def spawn_wanted(self) -> None:
        for attempt in self._wanted:
            try:
                make_streams(attempt, self._places.output)
            except OSError as error:
                attempt.not_started = at_preparing(error, "a pipe for its output").outcome()
                self._loop.call_soon(partial(self._spawned, attempt))
            else:
                self._spawners.do(partial(self._spawn, attempt))
        self._wanted.clear()

    def refuse_wanted(self, error: OSError) -> None:
        """What cannot be remembered must not be started."""
        for attempt in self._wanted:
            sentence = f"the journal of its machine: {os.strerror(error.errno or 0)}"
            attempt.not_started = NotStarted(error.errno or 0, sentence)
            self._loop.call_soon(partial(self._spawned, attempt))
        self._wanted.clear()

    def stop(self, key: Key, by: str) -> None:
        if attempt := self.live.get(key):
            self._end_it(attempt, Stopped(by))

    def watch(self, key: Key, on: bool) -> None:
        if attempt := self.live.get(key):
            attempt.watch = on
            if on:
                self._news.grew(attempt)

    def acknowledged(self, keys: list[Key]) -> None:
        gone = [key for key in keys if self.ends.pop(key, None) is not None]
        if gone:
            self._journal.append(report.ack_line(gone))

    def journal_lines(self) -> list[str]:
        """What a journal must say now, if it says nothing else."""
        lines = [f'{{"end":{text}}}' for text in self.ends.values()]
        for attempt in self.live.values():
            lines.append(report.start_line(attempt.key))
            if attempt.known:
                lines.append(report.spawned_line(attempt))
        return lines

    # Started.

    def _spawn(self, attempt: Attempt, spawn: Spawn) -> None:
        """In a spawner's thread."""
        start(attempt, self._places, spawn)
        self._loop.call_soon(partial(self._spawned, attempt))

    def _spawned(self, attempt: Attempt) -> None:
        for end in attempt.ends:
            os.close(end)
        attempt.open = attempt.streams[:]
        if attempt.born:
            self._open_process(attempt)
        if attempt.not_started:
            self._close_all(attempt)
            self._finish(attempt)
            return
        self._journal.append(report.spawned_line(attempt))
        self._say(report.started(attempt))
        self._leaders[attempt.pid] = attempt
        attempt.known = True
        self._set_timers(attempt)
        if attempt.ending:
            # It was asked to stop while it was being spawned.
            self._terminate(attempt)

    def _open_process(self, attempt: Attempt) -> None:
        try:
            attempt.pidfd = os.pidfd_open(attempt.pid)
        except OSError as error:
            # We would not hear of its end: then it must not have been started.
            _signal(-attempt.pid, signal.SIGKILL)
            os.waitpid(attempt.pid, 0)
            attempt.born = None
            attempt.not_started = at_preparing(error, "watching its process").outcome()
        else:
            self._loop.watch(attempt.pidfd, partial(self._exited, attempt))

    def _set_timers(self, attempt: Attempt) -> None:
        assert attempt.born
        born_ms = attempt.born.run_ms
        due = [(born_ms + _WATCHED_AFTER_MS, partial(self._watch_pipes, attempt))]
        if attempt.wall_s is not None:
            breach = partial(self._end_it, attempt, Breached("wall"))
            due.append((born_ms + round(attempt.wall_s * 1000), breach))
        attempt.timers = [self._loop.at(run_ms, callback) for run_ms, callback in due]

    def _watch_pipes(self, attempt: Attempt) -> None:
        if not attempt.tracked:
            attempt.tracked = True
            for stream in attempt.open:
                self._loop.watch(stream.fd, partial(self._readable, attempt, stream))
            self._news.follow(attempt)

    def _readable(self, attempt: Attempt, stream: drain.Stream) -> None:
        if not drain.read_once(stream):
            self._close_stream(attempt, stream)
            if attempt.exit_status is not None and not attempt.open:
                self._finish(attempt)
        elif attempt.watch:
            self._news.grew(attempt)

    def _close_stream(self, attempt: Attempt, stream: drain.Stream) -> None:
        if attempt.tracked:
            self._loop.unwatch(stream.fd)
        os.close(stream.fd)
        attempt.open.remove(stream)

    # Ended by us.

    def _end_it(self, attempt: Attempt, why: Outcome) -> None:
        if attempt.ending or attempt.exited or attempt.not_started:
            return
        if attempt.born and _is_dead(attempt.pid):
            # It came before us, and what it says of itself is the truth.
            return
        attempt.ending = why
        if attempt.born:
            self._terminate(attempt)

    def _terminate(self, attempt: Attempt) -> None:
        # What has been stopped (SIGSTOP) sees TERM only when it goes on.
        self._signal_tree(attempt, signal.SIGTERM, signal.SIGCONT)
        due_ms = self._loop.now.run_ms + round(attempt.grace_s * 1000)
        attempt.timers.append(self._loop.at(due_ms, partial(self._kill, attempt)))

    def _kill(self, attempt: Attempt) -> None:
        attempt.grace_over = True
        if attempt.exited:
            self._clear(attempt)
        else:
            self._signal_tree(attempt, signal.SIGKILL)

    def _signal_tree(self, attempt: Attempt, *numbers: signal.Signals) -> None:
        """To its leader's group, and to what has left the group but not the session."""
        members = [each.pid for each in tree.processes() if each.session == attempt.pid]
        for number in numbers:
            _signal(-attempt.pid, number)
            for pid in members:
                if pid != attempt.pid and _group_of(pid) != attempt.pid:
                    _signal(pid, number)

    # Ended.

    def _exited(self, attempt: Attempt) -> None:
        """Its leader is dead and not reaped: its zombie keeps the number taken, as a pid and
        as the number of group and session, so that none of them can be a stranger's."""
        self._loop.unwatch(attempt.pidfd)
        os.close(attempt.pidfd)
        attempt.exited = True
        self._clear(attempt)

    def _clear(self, attempt: Attempt) -> None:
        """End what the leader left behind, then reap the leader, never the other way round."""
        # Whoever lives on of it has lost a parent, or somebody above it has.
        if orphans.any_left():
            patient = attempt.ending is not None and not attempt.grace_over
            if not patient:
                _signal(-attempt.pid, signal.SIGKILL)
            self.reap_orphans()
            left = [each for each in orphans.living() if self._is_of(each, attempt)]
            if left:
                self._wait_for(attempt, left, patient)
                return
        self._collect(attempt)

    def _wait_for(self, attempt: Attempt, left: list[Process], patient: bool) -> None:
        """Each of them that dies brings us here again, with the children that it had."""
        self._clearing[attempt.key] = attempt
        for process in left:
            if process.pid not in self._watched:
                self._watch_orphan(process.pid)
            if not patient:
                _signal(process.pid, signal.SIGKILL)
        if not patient and not attempt.killing:
            attempt.killing = True
            due_ms = self._loop.now.run_ms + _PATIENCE_MS
            attempt.timers.append(self._loop.at(due_ms, partial(self._give_up, attempt)))

    def _watch_orphan(self, pid: int) -> None:
        """SIGCHLD is not enough to wait for: two at a time are one, and that one may go to the
        spawner's thread whose child the other was, which does not wake the loop."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        self._watched.add(pid)
        self._loop.watch(fd, partial(self._orphan_died, pid, fd))

    def _orphan_died(self, pid: int, fd: int) -> None:
        self._loop.unwatch(fd)
        os.close(fd)
        self._watched.discard(pid)
        self.orphans_changed()

    def _give_up(self, attempt: Attempt) -> None:
        if attempt.key in self._clearing:
            self._collect(attempt)

    def orphans_changed(self) -> None:
        """A process died that had lost its parent before."""
        self.reap_orphans()
        for attempt in list(self._clearing.values()):
            self._clear(attempt)

    def reap_orphans(self) -> None:
        for process, used in orphans.reap():
            attempt = self._leaders.get(process.session) if process else None
            if attempt:
                attempt.usage = report.add_usage(attempt.usage, used, 0.0)

    def _is_of(self, process: Process, attempt: Attempt) -> bool:
        """By its session, else by its mark. One that has shed both is known by nothing; it is
        ended with the last attempt that is here, as it cannot be of any that lives."""
        owner = self._leaders.get(process.session)
        if owner is None and (key := tree.mark_of(process.pid)):
            owner = self.live.get(key)
        if owner is None:
            return len(self._leaders) == 1
        return owner is attempt

    def _collect(self, attempt: Attempt) -> None:
        self._clearing.pop(attempt.key, None)
        attempt.call_off()
        _, status, used = os.wait4(attempt.pid, 0)
        del self._leaders[attempt.pid]
        attempt.exit_status = status
        assert attempt.born
        wall_s = (self._loop.now.run_ms - attempt.born.run_ms) / 1000
        attempt.usage = report.add_usage(attempt.usage, used, max(wall_s, 0.0))
        for stream in attempt.open[:]:
            if drain.read_all(stream):
                self._close_stream(attempt, stream)
        if not attempt.open:
            self._finish(attempt)
            return
        # A child that is being spawned this moment has a copy of the pipe until its exec.
        # Or something got away from us and holds it: that must not hold up the end.
        self._watch_pipes(attempt)
        due_ms = self._loop.now.run_ms + _PATIENCE_MS
        attempt.timers.append(self._loop.at(due_ms, partial(self._cut_off, attempt)))

    def _cut_off(self, attempt: Attempt) -> None:
        self._close_all(attempt)
        self._finish(attempt)

    def _close_all(self, attempt: Attempt) -> None:
        for stream in attempt.open[:]:
            self._close_stream(attempt, stream)

    def _finish(self, attempt: Attempt) -> None:
        attempt.call_off()
        self._news.last(attempt)
        for stream in attempt.streams:
            stream.spool.close()
        if attempt.scratch_path:
            path = attempt.scratch_path
            self._spawners.do(lambda _: remove_scratch(path))
        self._seq += 1
        self.unsynced = self._seq
        text = report.ended(attempt, self._seq, self._loop.now.wall_ms)
        self._journal.append(f'{{"end":{text}}}')
        self._say(text)
        del self.live[attempt.key]
        self.ends[attempt.key] = text


def _is_dead(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(pid: int, number: signal.Signals) -> None:
    """A negative pid is a group. That it is gone already, or not ours to end, is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
