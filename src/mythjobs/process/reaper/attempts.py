"""All attempts of one reaper: journals their starts and ends, and reports them to the agent, while
the supervisor runs their processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Stopped
from mythjobs.process.event_loop import EventLoop, log
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper import messages
from mythjobs.process.reaper.attempt import ReaperAttempt
from mythjobs.process.reaper.host import ReaperHost
from mythjobs.process.reaper.journal import ReaperJournal
from mythjobs.process.reaper.next_attempts import NextAttempts
from mythjobs.process.reaper.output import OutputSink, OutputWriter
from mythjobs.process.reaper.output_file import OutputFile, stream_path
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.process.reaper.timed_actions import STOP, THAW, TimedAction, TimedActions
from mythjobs.process.reaper.updates import UpdateQueue
from mythjobs.process.spawn.errors import setup_error
from mythjobs.process.spawn.native_request import StartRecord
from mythjobs.process.spawn.pool import SpawnPool
from mythjobs.process.spawn.vfork import Spawn
from mythjobs.process.supervise.descendants import SubreaperDescendants
from mythjobs.process.supervise.rlimits import NofileLimit

# Time for which little output of an attempt is held back in memory, where a crash of the reaper
# loses it. An attempt that has ended by then has it in its `ended` message.
_HOLD_OUTPUT_MS: Final = 1000


class ReaperAttempts:
    """All attempts of a reaper, by (job id, attempt number). `live` has the attempts that have not
    ended. `unacknowledged` has the encoded `ended` messages of ended attempts, until the master
    acknowledges them."""

    def __init__(
        self,
        loop: EventLoop,
        journal: ReaperJournal,
        spawn_pool: SpawnPool,
        send: Callable[[str], None],
        updates: UpdateQueue,
        host: ReaperHost,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._spawn_pool = spawn_pool
        self._send = send
        self._updates = updates
        self._writer = OutputWriter()
        # In this turn of the event loop.
        self._started: list[ReaperAttempt] = []
        self.seq = 0
        self.live: dict[AttemptKey, ReaperAttempt] = {}
        self.unacknowledged: dict[AttemptKey, str] = {}
        # Sequence number of the last end whose journal sync has yet to be requested; 0 if none.
        self.unsynced_seq = 0
        # True if pid records have been queued whose write has yet to be requested.
        self.has_new_pids = False
        self.next = NextAttempts()
        # By holder: time without an agent after which its freezes end.
        self.lapses_ms: dict[str, int] = {}
        self._supervisor = host.create_supervisor(loop, spawn_pool, self)
        self._supervisor.cleanup.descendants = SubreaperDescendants(
            self._supervisor.leaders, self.live
        )
        self._nofile_limit = NofileLimit()
        self._timed_actions = TimedActions(loop, host.create_boot_timer(), self._perform)

    def close(self) -> None:
        self._timed_actions.close()
        self._supervisor.close()

    # Methods for requests of the agent.

    def start(self, attempt: ReaperAttempt, start_by_ms: int | None = None) -> None:
        """Spawn the attempt once its start record is in the journal; with `start_by_ms`, when
        another one ends, if that is before then. Ignore an attempt that the reaper knows already:
        the agent may repeat a start."""
        if attempt.key in self.live or attempt.key in self.unacknowledged:
            return
        if start_by_ms is not None:
            self.next.add(attempt, start_by_ms)
            return
        self.next.remove(attempt.key)
        self.live[attempt.key] = attempt
        if attempt.timed_actions:
            self._timed_actions.replace(attempt.key, attempt.timed_actions)
        self._nofile_limit.prepare_for(len(self.live))
        self._supervisor.starts.nofile_for_children = self._nofile_limit.inherited
        attempt.open_sink = partial(self._open_sink, attempt)
        record = messages.encode_start_record(attempt.key)
        if attempt.not_started:
            self._journal.append(record)
            self._supervisor.starts.fail(attempt, attempt.not_started)
            return
        if not attempt.needs_disk and self._supervisor.starts.can_spawn_natively(attempt):
            if direct := self._journal.prepare_direct(record):
                attempt.native_pipe_count = attempt.pipe_count
                self._supervisor.starts.spawn_natively(attempt, StartRecord(*direct))
                return
        self._journal.append(record)
        self._started.append(attempt)

    def spawn_started(self) -> None:
        """Spawn the attempts started in this turn, once their start records are written."""
        if self._started:
            self._spawn_pool.submit(partial(self._spawn_batch, self._started))
            self._started = []

    def _spawn_batch(self, attempts: list[ReaperAttempt], spawn: Spawn) -> None:
        """Write the start records and have the attempts spawned, the first one in this thread of
        the spawn pool. Were each record written on its own, the threads would wait for each other.
        """
        try:
            self._journal.flush()
        except OSError as error:
            failure = setup_error(error, "writing the reaper's journal").outcome()
            for attempt in attempts:
                self._supervisor.starts.fail(attempt, failure)
            return
        for attempt in attempts[1:]:
            self._supervisor.starts.spawn(attempt)
        self._supervisor.starts.spawn_here(attempts[0], spawn)

    def _open_sink(self, attempt: ReaperAttempt, stream: int) -> OutputSink:
        path = stream_path(attempt.directories.output, attempt.job, attempt.n, stream)
        on_written = partial(self._loop.call_soon, partial(self._output_written, attempt))
        return OutputSink(self._writer, OutputFile(path, *attempt.keep_bytes), on_written)

    def stop(self, key: AttemptKey, by: str, grace_s: float | None = None) -> None:
        if attempt := self.live.get(key):
            self._supervisor.stop(attempt, Stopped(by), grace_s)

    def set_watched(self, key: AttemptKey, is_watched: bool) -> None:
        if attempt := self.live.get(key):
            attempt.reports_output = is_watched
            if is_watched:
                attempt.release_output()
                self._report_output(attempt)

    def set_frozen(
        self, key: AttemptKey, holder: str, is_frozen: bool, lapse_s: float | None = None
    ) -> None:
        if is_frozen and lapse_s is not None:
            self.lapses_ms[holder] = round(lapse_s * 1000)
        if attempt := self.live.get(key):
            before = set(attempt.freeze_holders)
            self._supervisor.set_freeze_holder(attempt, holder, is_frozen)
            if attempt.has_spawned and attempt.freeze_holders != before:
                self._send(messages.encode_frozen(attempt))

    def end_lapsed_freezes(self) -> None:
        """End the freezes of holders that need an agent."""
        holders, self.lapses_ms = self.lapses_ms, {}
        for key in list(self.live):
            for holder in holders:
                self.set_frozen(key, holder, False)

    def change_limits(self, key: AttemptKey, limits: Limits) -> None:
        if attempt := self.live.get(key):
            self._supervisor.change_limits(attempt, limits)

    def replace_timed_actions(self, key: AttemptKey, actions: list[TimedAction]) -> None:
        if key in self.live:
            self._timed_actions.replace(key, actions)

    def _perform(self, key: AttemptKey, action: TimedAction) -> None:
        if action.kind == STOP:
            self.stop(key, action.by, action.grace_s)
        else:
            self.set_frozen(key, action.by, action.kind != THAW)

    def acknowledge(self, keys: list[AttemptKey]) -> None:
        known = [key for key in keys if self.unacknowledged.pop(key, None) is not None]
        if known:
            self._journal.append(messages.encode_ack_record(known))

    # Methods that encode the state, for the journal and for an agent that connects.

    def encode_records(self) -> list[str]:
        """Return the journal records of all attempts, to replace all earlier records."""
        lines = [f'{{"end":{text}}}' for text in self.unacknowledged.values()]
        for attempt in self.live.values():
            lines.append(messages.encode_start_record(attempt.key))
            if attempt.has_spawned:
                lines.append(messages.encode_pid_record(attempt))
        return lines

    def list_starting(self) -> list[AttemptKey]:
        """Return the attempts whose process does not exist yet."""
        return [key for key, attempt in self.live.items() if not attempt.has_spawned]

    def encode_attempts(self) -> list[str]:
        """Return the `started` and `ended` messages for `hello`."""
        spawned = [each for each in self.live.values() if each.has_spawned]
        return [*map(messages.encode_started, spawned), *self.unacknowledged.values()]

    def encode_frozen(self) -> list[str]:
        """Return `frozen` messages for `hello`, also about attempts that are frozen no more: the
        agent may have been away when that changed."""
        return [
            messages.encode_frozen(each)
            for each in self.live.values()
            if each.has_spawned and (each.freeze_holders or each.frozen_ms)
        ]

    # Methods of ChildEvents, called by the supervisor.

    def spawned(self, attempt: ReaperAttempt) -> None:
        if attempt.freeze_holders:
            self._report_start(attempt)
            self._send(messages.encode_frozen(attempt))

    def outlived_start(self, attempt: ReaperAttempt) -> None:
        if attempt.reports_output:
            attempt.release_output()
        else:
            due_ms = self._loop.now.run_ms + _HOLD_OUTPUT_MS
            attempt.timers.append(self._loop.call_at(due_ms, attempt.release_output))
        self._report_start(attempt)
        self._updates.watch_status_pipe(attempt)

    def _report_start(self, attempt: ReaperAttempt) -> None:
        """Journal and report the start. An attempt that ends within the first milliseconds needs
        neither: its end has the time of its start."""
        if not attempt.is_start_reported:
            attempt.is_start_reported = self.has_new_pids = True
            self._journal.append(messages.encode_pid_record(attempt))
            self._send(messages.encode_started(attempt))

    def thawed_for_stop(self, attempt: ReaperAttempt) -> None:
        if attempt.has_spawned:
            self._send(messages.encode_frozen(attempt))

    def _output_written(self, attempt: ReaperAttempt) -> None:
        if attempt.is_flushing_output:
            self.ended(attempt)
        elif attempt.reports_output and attempt.key in self.live:
            self._report_output(attempt)

    def _report_output(self, attempt: ReaperAttempt) -> None:
        """Report the size of the output, once the writer has written the first bytes of each stream
        that has some: a reader would take the size 0 for all that there is."""
        if not any(each.is_first_write_pending for each in attempt.sinks):
            self._updates.add_output(attempt)

    def ended(self, attempt: ReaperAttempt) -> None:
        if attempt.written_bytes and not attempt.has_small_output:
            attempt.release_output()
        attempt.is_flushing_output = any(each.has_queued for each in attempt.sinks)
        if attempt.is_flushing_output:
            return
        pipe = attempt.status_pipe
        self._updates.flush(attempt)
        for stream in attempt.streams:
            stream.sink.close()
        if attempt.scratch_path:
            self._spawn_pool.submit(partial(_remove_tree, attempt.scratch_path))
        if pipe:
            self._spawn_pool.submit(partial(_remove_tree, pipe.path))
        self._timed_actions.discard(attempt.key)
        self.seq += 1
        self.unsynced_seq = self.seq
        following, late = self.next.take_first(self._loop.now.steady_ms)
        after = following.key if following else None
        text = messages.encode_ended(attempt, self.seq, self._loop.now.wall_ms, after)
        self._journal.append(f'{{"end":{text}}}')
        self._send(text)
        del self.live[attempt.key]
        self.unacknowledged[attempt.key] = text
        if late:
            self._send(messages.encode_recalled(late, late=True))
        if following:
            self.start(following)


def _remove_tree(path: str, _: object) -> None:
    if not remove_tree(path):
        log(f"cannot remove all of {path}")
