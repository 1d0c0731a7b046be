"""The reaper's main object: runs the event loop that serves the agent, supervises attempts, and
journals their starts and ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import mythjobs
from mythjobs.errors import ProtocolError
from mythjobs.process.event_loop import Pacer, log
from mythjobs.process.reaper.attempt import AttemptDirectories, ReaperAttempt, parse_limits
from mythjobs.process.reaper.attempts import ReaperAttempts
from mythjobs.process.reaper.host import ReaperHost
from mythjobs.process.reaper.messages import Message, encode_json, encode_pong, encode_recalled
from mythjobs.process.reaper.timed_actions import parse_timed_actions
from mythjobs.process.reaper.updates import UpdateQueue

# A reaper without an agent and live attempts exits after this time, unless it has unacknowledged
# ends and a directory in which the next agent will find it.
_IDLE_EXIT_MS: Final = 60_000
_RETRY_MS: Final = 1000
# Journal records of acknowledgements are written at most this time after they are queued. Other
# records are written sooner.
_FLUSH_MS: Final = 10
# Least time from one sync of the journal to the next, and from one report to the agent to the next
# while many attempts are live. What happens meanwhile shares a sync, and the wake-ups and turns of
# agent and master: of /bin/true with 8 in flight, this saves 60 of 520 µs of CPU time per job.
_PAUSE_MS: Final = 3
# More live attempts than this for each CPU are many: the CPUs have enough to do during a pause.
# With fewer, ends are reported at once, as the agent may have other jobs to start.
_BUSY_PER_CPU: Final = 2
# An agent that has sent pings, normally every few seconds, and sends none for this time is
# disconnected, so that a new agent can connect.
_AGENT_TIMEOUT_MS: Final = 60_000
_SYNCED: Final = '{"type":"synced","seq":%d}'


class Reaper:
    """The reaper. `directory` has its journal and lock, `path` is the path of its socket."""

    def __init__(
        self,
        directory: str,
        path: str,
        directories: AttemptDirectories,
        host: ReaperHost | None = None,
    ) -> None:
        self._host = host = host or ReaperHost()
        self._directory = directory
        self._identity: dict[str, Any] = {
            "reaper": os.path.basename(directory),
            "pid": os.getpid(),
            "version": mythjobs.__version__,
            "boot_id": host.read_boot_id(),
        }
        header = {**self._identity, "cgroups": host.list_cgroup_parents()}
        self.loop = host.create_loop()
        self._spawn_pool = host.create_spawn_pool()
        self._journal = host.create_journal(
            self.loop,
            directory,
            encode_json({"reaper": header}),
            lambda seq: self.loop.call_soon(partial(self._report_synced, seq)),
            lambda: self.loop.call_soon(self._journal_failed),
        )
        self._agent = host.create_socket(self.loop, path, self._encode_hello, self._handle_messages)
        # Write the journal's header.
        self._journal.request_flush()
        self._updates = UpdateQueue(self.loop, self._agent.send, lambda: self._agent.is_backlogged)
        self._attempts = ReaperAttempts(
            self.loop, self._journal, self._spawn_pool, self._agent.send, self._updates, host
        )
        self._directories = directories
        self._last_synced = 0
        self._retiring = self._shutting_down = False
        self._idle_timer: list[Callable[[], None]] = []
        self._restart_idle_timer()
        self._is_flush_scheduled = self._has_rewritten = False
        self._sync_pacer = Pacer(self.loop, _PAUSE_MS)
        self._report_pacer = Pacer(self.loop, _PAUSE_MS)
        self._busy_attempts = _BUSY_PER_CPU * host.count_cpus()
        self._agent_timer: list[Callable[[], None]] = []
        self._lapse_timer: list[Callable[[], None]] = []

    def run(self) -> None:
        """Run until all attempts have ended after SIGTERM or after the reaper's directory was
        deleted, or until the reaper is retired (it gets no more starts) and the master has
        acknowledged all ends."""
        while not self._should_exit():
            self.loop.run_once()
            self._end_turn()
        if self._attempts.unsynced_seq:
            self._journal.request_sync(self._attempts.unsynced_seq)
        self._agent.close()
        self._spawn_pool.shut_down()
        self._attempts.close()
        self._journal.close()
        if self._is_idle():
            self._host.remove_directory(self._directory)

    def _should_exit(self) -> bool:
        if self._shutting_down and not self._attempts.live:
            return True
        return self._retiring and self._is_idle()

    def on_sigterm(self, *_: object) -> None:
        """Handle SIGTERM, as at system shutdown: stop all attempts and exit. Outcomes
        that the master has not acknowledged stay in the journal."""
        self.loop.call_soon(self._shut_down)

    def _shut_down(self) -> None:
        self._shutting_down = True
        self._attempts.next.clear()
        for key in list(self._attempts.live):
            self._attempts.stop(key, "shutdown")

    def _end_turn(self) -> None:
        """Request journal writes and send queued messages, after each iteration of the event loop.
        Nothing here waits for the disk: a disk that hangs must not delay the check of a limit."""
        attempts = self._attempts
        if not self._agent.is_connected:
            attempts.next.clear()
        attempts.spawn_started()
        self._journal.compact(attempts.encode_records, self._is_idle())
        if attempts.unsynced_seq or attempts.has_new_pids:
            if self._sync_pacer.try_to_go():
                self._journal.request_sync(attempts.unsynced_seq)
                attempts.unsynced_seq = 0
                attempts.has_new_pids = False
        elif self._journal.has_queued and not self._is_flush_scheduled:
            # Delay the write by _FLUSH_MS: on a busy machine the next sync writes the records too.
            self._is_flush_scheduled = True
            self.loop.call_at(self.loop.now.run_ms + _FLUSH_MS, self._flush_journal)
        self._journal.serve_waiting()
        if self._agent.has_queued:
            is_busy = len(attempts.live) > self._busy_attempts
            if not is_busy or self._report_pacer.try_to_go():
                self._agent.flush()
        if attempts.lapses_ms or self._lapse_timer:
            self._update_lapse_timer()
        self._update_idle_timer()

    def _flush_journal(self) -> None:
        self._is_flush_scheduled = False
        if self._journal.has_queued:
            self._journal.request_flush()

    def _journal_failed(self) -> None:
        """Replace a journal whose fsync failed by a new file. Called again if that fails, too."""
        wait_ms = _RETRY_MS if self._has_rewritten else 0
        self._has_rewritten = True
        self.loop.call_at(self.loop.now.run_ms + wait_ms, self._rewrite_journal)

    def _rewrite_journal(self) -> None:
        self._journal.rewrite(self._attempts.encode_records(), self._attempts.seq)

    def _is_idle(self) -> bool:
        return not self._attempts.live and not self._attempts.unacknowledged

    def _update_lapse_timer(self) -> None:
        attempts = self._attempts
        if self._agent.is_connected:
            self._lapse_timer.clear()
        elif attempts.lapses_ms and not self._lapse_timer:
            due_ms = self.loop.now.run_ms + min(attempts.lapses_ms.values())
            self._lapse_timer = self.loop.call_at(due_ms, attempts.end_lapsed_freezes)

    def _update_idle_timer(self) -> None:
        if self._agent.is_connected or self._attempts.live:
            self._idle_timer.clear()
        elif not self._idle_timer:
            self._restart_idle_timer()

    def _restart_idle_timer(self) -> None:
        due_ms = self.loop.now.run_ms + _IDLE_EXIT_MS
        self._idle_timer = self.loop.call_at(due_ms, self._end_idle_time)

    def _end_idle_time(self) -> None:
        """Exit if no agent will come: there is nothing to acknowledge, or the directory was deleted
        in which agents look for reapers."""
        if self._is_idle():
            self._retire()
        elif self._host.has_directory(self._directory):
            self._restart_idle_timer()
        else:
            count = len(self._attempts.unacknowledged)
            log(f"{self._directory} was deleted: exiting with {count} unacknowledged ends")
            self._shut_down()

    def _retire(self) -> None:
        self._retiring = True

    def _encode_hello(self) -> str:
        # An earlier agent has sent these starts, and this one does not know of them.
        self._attempts.next.clear()
        starting = self._attempts.list_starting()
        self._agent_timer.clear()
        more = {"starting": starting, "pings": True}
        head = encode_json({"type": "hello", **self._identity, **more})
        hello = f'{head[:-1]},"attempts":[{",".join(self._attempts.encode_attempts())}]}}'
        return ",".join([hello, *self._attempts.encode_frozen(), _SYNCED % self._last_synced])

    def _report_synced(self, seq: int) -> None:
        self._has_rewritten = False
        # Two threads may sync, so that the results may arrive in another order.
        self._last_synced = max(seq, self._last_synced)
        self._agent.send(_SYNCED % seq)

    def _restart_agent_timer(self) -> None:
        self._agent_timer.clear()
        due_ms = self.loop.now.run_ms + _AGENT_TIMEOUT_MS
        self._agent_timer = self.loop.call_at(due_ms, self._agent.disconnect_silent)

    def _handle_messages(self, messages: list[Message]) -> None:
        for message in messages:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        attempts = self._attempts
        try:
            match message["type"]:
                case "start" if self._shutting_down:
                    # Ignore the start. It is not journaled, so the next agent knows that the
                    # attempt never ran.
                    pass
                case "start":
                    attempt = ReaperAttempt(message, self._directories)
                    attempts.start(attempt, attempt.start_by_ms)
                case "recall":
                    self._agent.send(encode_recalled(attempts.next.clear()))
                case "ack":
                    attempts.acknowledge([(job, n) for job, n in message["ends"]])
                case "stop":
                    attempts.stop((message["job"], message["n"]), str(message["by"]))
                case "watch":
                    attempts.set_watched((message["job"], message["n"]), bool(message["on"]))
                case "freeze":
                    key = (message["job"], message["n"])
                    holder, on = str(message["holder"]), bool(message["on"])
                    attempts.set_frozen(key, holder, on, message.get("lapse_s"))
                case "acts":
                    key = (message["job"], message["n"])
                    attempts.replace_timed_actions(key, parse_timed_actions(message["acts"]))
                case "limits":
                    attempts.change_limits((message["job"], message["n"]), parse_limits(message))
                case "ping":
                    self._agent.send(encode_pong(self._journal.write_error))
                    self._restart_agent_timer()
                case "retire":
                    self._retire()
                case unknown:
                    # Ignore a message type that only newer agents send: the agent knows this
                    # reaper's version from `hello`, so it does not rely on the message.
                    log(f"ignored a message of unknown type {unknown}")
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"{message['type']}: {error!r}") from None


def install_signal_handlers(reaper: Reaper) -> None:
    """Install the signal handlers of the reaper. SIGHUP and SIGINT get a handler that does nothing,
    not SIG_IGN: jobs inherit SIG_IGN, but exec(2) resets handlers to the default.

    SIGCHLD has none: the kernel does not deliver it then. A handler, which every end of a job and
    of a process that it started would run, cost 15 µs.
    """
    signal.signal(signal.SIGTERM, reaper.on_sigterm)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
