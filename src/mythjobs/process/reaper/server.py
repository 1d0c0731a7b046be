"""The reaper: one loop that hears the agent, and the children, and forgets nothing unsaid."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from typing import Any, Final

import mythjobs
from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.attempt import Attempt, Places, limits_of
from mythjobs.process.reaper.attempts import Attempts
from mythjobs.process.reaper.connection import Control
from mythjobs.process.reaper.journal import Journal
from mythjobs.process.reaper.timed_actions import read_acts
from mythjobs.process.reaper.updates import News
from mythjobs.process.reaper.wire import Message, encode_json
from mythjobs.process.spawn.pool import Spawners
from mythjobs.process.supervise import descendants
from mythjobs.process.supervise.loop import Loop, log

# With nothing to do, nothing to tell and nobody to tell it to, it goes after this time.
_ALONE_MS: Final = 60_000
_RETRY_MS: Final = 1000
_SYNCED: Final = '{"type":"synced","seq":%d}'


class Reaper:
    """`directory` is its own, `name` the last part of it; `path` is where its socket is."""

    def __init__(self, directory: str, path: str, places: Places) -> None:
        self._directory = directory
        self._who: dict[str, Any] = {
            "reaper": os.path.basename(directory),
            "pid": os.getpid(),
            "version": mythjobs.__version__,
            "boot_id": _boot_id(),
        }
        self.loop = Loop()
        self._spawners = Spawners()
        self._journal = Journal(
            os.path.join(directory, "journal"),
            encode_json({"reaper": self._who}),
            lambda seq: self.loop.call_soon(partial(self._synced, seq)),
            lambda: self.loop.call_soon(self._renew_journal),
        )
        self._control = Control(self.loop, path, self._hello, self._receive)
        self._news = News(self.loop, self._control.send, lambda: self._control.behind)
        self._attempts = Attempts(
            self.loop, self._journal, self._spawners, self._control.send, self._news
        )
        self._places = places
        self._last_synced = 0
        self._retiring = self._leaving = False
        self._alone = self.loop.at(self.loop.now.run_ms + _ALONE_MS, self._retire)
        self._retrying = False

    def run(self) -> None:
        """Until it is told to retire, or is alone, and everything is acknowledged."""
        while not self._is_over():
            self.loop.turn()
            self._end_turn()
        self._control.close()
        self._spawners.finish()
        self._attempts.close()
        self._journal.close()
        if self._nothing_left():
            shutil.rmtree(self._directory, ignore_errors=True)

    def _is_over(self) -> bool:
        if self._leaving and not self._attempts.live:
            return True
        return self._retiring and self._nothing_left()

    def orphan_died(self, *_: object) -> None:
        """The handler of SIGCHLD, so in the loop's thread between any two of its steps. Most
        of these signals are for children that have a pidfd, and tell nothing new. One that is
        missed leaves a zombie until the next; who waits for an orphan watches it."""
        if descendants.has_dead_orphans():
            self.loop.call_soon(self._attempts.orphans_changed)

    def shut_down(self, *_: object) -> None:
        """The handler of SIGTERM: this machine goes down. What is not acknowledged stays."""
        self.loop.call_soon(self._shut_down)

    def _shut_down(self) -> None:
        self._leaving = True
        for key in list(self._attempts.live):
            self._attempts.stop(key, "shutdown")

    # One turn's end: journal, then children, then the agent.

    def _end_turn(self) -> None:
        attempts = self._attempts
        try:
            self._journal.write()
        except OSError as error:
            attempts.refuse_wanted(error)
            self._retry_later(error)
        else:
            attempts.spawn_wanted()
            if attempts.unsynced:
                self._journal.sync(attempts.unsynced)
                attempts.unsynced = 0
            self._trim()
        self._control.flush()
        self._count_alone()

    def _retry_later(self, error: OSError) -> None:
        if not self._retrying:
            self._retrying = True
            log(f"the journal: {error}")
            self.loop.at(self.loop.now.run_ms + _RETRY_MS, self._retry)

    def _retry(self) -> None:
        # That the loop has turned is all that is needed: _end_turn() writes again.
        self._retrying = False

    def _trim(self) -> None:
        """It is as good as before if it cannot be made smaller; it says when to try again."""
        try:
            self._journal.trim(self._attempts.journal_lines, self._nothing_left())
        except OSError as error:
            log(f"the journal could not be made smaller: {error}")
            if self._journal.broken:
                self.loop.at(self.loop.now.run_ms + _RETRY_MS, self._renew_journal)

    def _renew_journal(self) -> None:
        """Its file could not be made durable; in a new one everything is, or we try again."""
        try:
            self._journal.renew(self._attempts.journal_lines())
        except OSError as error:
            log(f"the journal: {error}")
            self.loop.at(self.loop.now.run_ms + _RETRY_MS, self._renew_journal)
        else:
            self._journal.sync(self._attempts.seq)

    def _nothing_left(self) -> bool:
        return not self._attempts.live and not self._attempts.ends

    def _count_alone(self) -> None:
        if self._control.connected or not self._nothing_left():
            self._alone.clear()
        elif not self._alone:
            self._alone = self.loop.at(self.loop.now.run_ms + _ALONE_MS, self._retire)

    def _retire(self) -> None:
        self._retiring = True

    # What is said.

    def _hello(self) -> str:
        head = encode_json({"type": "hello", **self._who})
        hello = f'{head[:-1]},"attempts":[{",".join(self._attempts.told())}]}}'
        return ",".join([hello, *self._attempts.frozen(), _SYNCED % self._last_synced])

    def _synced(self, seq: int) -> None:
        self._last_synced = seq
        self._control.send(_SYNCED % seq)

    # What is heard.

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            self._carry_out(message)

    def _carry_out(self, message: Message) -> None:
        attempts = self._attempts
        try:
            match message["type"]:
                case "start" if self._leaving:
                    # It is not in the journal: whoever reads that knows that it never ran.
                    pass
                case "start":
                    attempts.start(Attempt(message, self._places))
                case "ack":
                    attempts.acknowledged([(job, n) for job, n in message["ends"]])
                case "stop":
                    attempts.stop((message["job"], message["n"]), str(message["by"]))
                case "watch":
                    attempts.watch((message["job"], message["n"]), bool(message["on"]))
                case "freeze":
                    key = (message["job"], message["n"])
                    attempts.hold(key, str(message["holder"]), bool(message["on"]))
                case "acts":
                    key = (message["job"], message["n"])
                    attempts.replace_acts(key, read_acts(message["acts"]))
                case "limits":
                    attempts.limit((message["job"], message["n"]), limits_of(message))
                case "retire":
                    self._retire()
                case unknown:
                    # A newer agent may know more; what it needs to know is our version.
                    log(f"an unknown message: {unknown}")
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError(f"{message['type']}: {error!r}") from None


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def install(reaper: Reaper) -> None:
    """Handlers, not SIG_IGN: exec() resets the first and hands the second on to the jobs."""
    signal.signal(signal.SIGCHLD, reaper.orphan_died)
    signal.signal(signal.SIGTERM, reaper.shut_down)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
