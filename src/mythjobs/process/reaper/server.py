"""Reaper: the event loop that serves the agent, supervises attempts, and journals their ends."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from typing import Any, Final

import mythjobs
from mythjobs.errors import ProtocolError
from mythjobs.process.event_loop import EventLoop, log
from mythjobs.process.reaper.attempt import AttemptDirectories, ReaperAttempt, parse_limits
from mythjobs.process.reaper.attempts import ReaperAttempts
from mythjobs.process.reaper.connection import AgentSocket
from mythjobs.process.reaper.journal import ReaperJournal
from mythjobs.process.reaper.messages import Message, encode_json
from mythjobs.process.reaper.timed_actions import parse_timed_actions
from mythjobs.process.reaper.updates import UpdateQueue
from mythjobs.process.spawn.pool import SpawnPool
from mythjobs.process.supervise import descendants

# A reaper without an agent, live attempts and unacknowledged ends exits after this time.
_IDLE_EXIT_MS: Final = 60_000
_RETRY_MS: Final = 1000
_SYNCED: Final = '{"type":"synced","seq":%d}'


class Reaper:
    """`directory` holds its journal and its lock; `path` is its socket."""

    def __init__(self, directory: str, path: str, directories: AttemptDirectories) -> None:
        self._directory = directory
        self._identity: dict[str, Any] = {
            "reaper": os.path.basename(directory),
            "pid": os.getpid(),
            "version": mythjobs.__version__,
            "boot_id": _boot_id(),
        }
        self.loop = EventLoop()
        self._spawn_pool = SpawnPool()
        self._journal = ReaperJournal(
            os.path.join(directory, "journal"),
            encode_json({"reaper": self._identity}),
            lambda seq: self.loop.call_soon(partial(self._report_synced, seq)),
            lambda: self.loop.call_soon(self._rewrite_journal),
        )
        self._agent = AgentSocket(self.loop, path, self._encode_hello, self._handle_messages)
        self._updates = UpdateQueue(self.loop, self._agent.send, lambda: self._agent.is_backlogged)
        self._attempts = ReaperAttempts(
            self.loop, self._journal, self._spawn_pool, self._agent.send, self._updates
        )
        self._directories = directories
        self._last_synced = 0
        self._retiring = self._shutting_down = False
        self._idle_timer = self.loop.call_at(self.loop.now.run_ms + _IDLE_EXIT_MS, self._retire)
        self._retrying = False

    def run(self) -> None:
        """Run until SIGTERM has stopped all attempts, or until retired and idle."""
        while not self._should_exit():
            self.loop.run_once()
            self._end_turn()
        self._agent.close()
        self._spawn_pool.shut_down()
        self._attempts.close()
        self._journal.close()
        if self._is_idle():
            shutil.rmtree(self._directory, ignore_errors=True)

    def _should_exit(self) -> bool:
        if self._shutting_down and not self._attempts.live:
            return True
        return self._retiring and self._is_idle()

    def on_sigchld(self, *_: object) -> None:
        """Handle SIGCHLD, in the loop's thread between any two of its steps.

        Most of these signals are for children that have a pidfd and need nothing here. A missed
        one leaves a zombie until the next; code that waits for an orphan watches the orphan.
        """
        if descendants.has_dead_orphans():
            self.loop.call_soon(self._attempts.orphan_exited)

    def on_sigterm(self, *_: object) -> None:
        """Handle SIGTERM (system shutdown). Unacknowledged ends stay in the journal."""
        self.loop.call_soon(self._shut_down)

    def _shut_down(self) -> None:
        self._shutting_down = True
        for key in list(self._attempts.live):
            self._attempts.stop(key, "shutdown")

    def _end_turn(self) -> None:
        """Write the journal, spawn attempts, send messages, in this order."""
        attempts = self._attempts
        try:
            self._journal.write()
        except OSError as error:
            attempts.reject_pending(error)
            self._retry_later(error)
        else:
            attempts.spawn_pending()
            if attempts.unsynced_seq:
                self._journal.request_sync(attempts.unsynced_seq)
                attempts.unsynced_seq = 0
            self._compact_journal()
        self._agent.flush()
        self._update_idle_timer()

    def _retry_later(self, error: OSError) -> None:
        if not self._retrying:
            self._retrying = True
            log(f"cannot write the journal: {error}")
            self.loop.call_at(self.loop.now.run_ms + _RETRY_MS, self._retry)

    def _retry(self) -> None:
        # The timer made the loop run another turn; _end_turn() writes again.
        self._retrying = False

    def _compact_journal(self) -> None:
        try:
            self._journal.compact(self._attempts.encode_records, self._is_idle())
        except OSError as error:
            # The journal stays valid, unless it is broken.
            log(f"cannot compact the journal: {error}")
            if self._journal.is_broken:
                self.loop.call_at(self.loop.now.run_ms + _RETRY_MS, self._rewrite_journal)

    def _rewrite_journal(self) -> None:
        """Replace a journal whose fsync failed by a new file; retry until that is durable."""
        try:
            self._journal.rewrite(self._attempts.encode_records())
        except OSError as error:
            log(f"cannot rewrite the journal: {error}")
            self.loop.call_at(self.loop.now.run_ms + _RETRY_MS, self._rewrite_journal)
        else:
            self._journal.request_sync(self._attempts.seq)

    def _is_idle(self) -> bool:
        return not self._attempts.live and not self._attempts.unacknowledged

    def _update_idle_timer(self) -> None:
        if self._agent.is_connected or not self._is_idle():
            self._idle_timer.clear()
        elif not self._idle_timer:
            self._idle_timer = self.loop.call_at(self.loop.now.run_ms + _IDLE_EXIT_MS, self._retire)

    def _retire(self) -> None:
        self._retiring = True

    def _encode_hello(self) -> str:
        head = encode_json({"type": "hello", **self._identity})
        hello = f'{head[:-1]},"attempts":[{",".join(self._attempts.encode_attempts())}]}}'
        return ",".join([hello, *self._attempts.encode_frozen(), _SYNCED % self._last_synced])

    def _report_synced(self, seq: int) -> None:
        self._last_synced = seq
        self._agent.send(_SYNCED % seq)

    def _handle_messages(self, messages: list[Message]) -> None:
        for message in messages:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        attempts = self._attempts
        try:
            match message["type"]:
                case "start" if self._shutting_down:
                    # Not journalled, so the next agent knows that the attempt never ran.
                    pass
                case "start":
                    attempts.start(ReaperAttempt(message, self._directories))
                case "ack":
                    attempts.acknowledge([(job, n) for job, n in message["ends"]])
                case "stop":
                    attempts.stop((message["job"], message["n"]), str(message["by"]))
                case "watch":
                    attempts.set_watched((message["job"], message["n"]), bool(message["on"]))
                case "freeze":
                    key = (message["job"], message["n"])
                    attempts.set_frozen(key, str(message["holder"]), bool(message["on"]))
                case "acts":
                    key = (message["job"], message["n"])
                    attempts.replace_timed_actions(key, parse_timed_actions(message["acts"]))
                case "limits":
                    attempts.change_limits((message["job"], message["n"]), parse_limits(message))
                case "retire":
                    self._retire()
                case unknown:
                    # Sent by a newer agent, which knows our version from `hello`.
                    log(f"ignored a message of unknown type {unknown}")
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError(f"{message['type']}: {error!r}") from None


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def install_signal_handlers(reaper: Reaper) -> None:
    """Set handlers for the signals. Jobs would inherit SIG_IGN; exec() resets handlers."""
    signal.signal(signal.SIGCHLD, reaper.on_sigchld)
    signal.signal(signal.SIGTERM, reaper.on_sigterm)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
