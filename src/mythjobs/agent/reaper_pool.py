"""Reaper pool: launches reapers, adopts existing ones when the agent starts, replaces dead ones."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from mythjobs import __version__
from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.turn import Json
from mythjobs.agent.dead_reaper import DeadReaper, recover_reaper, remove_leftover_files
from mythjobs.agent.reaper_connection import ReaperConnection, connect_reaper
from mythjobs.config.state import AgentDir
from mythjobs.errors import Unreachable
from mythjobs.process.reaper.directory import try_lock
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.launch import launch_reaper

_RETRY_S: Final = 0.05
_WARN_AFTER_S: Final = 5.0
_MAX_RETRY_S: Final = 5.0
# The agent pings a reaper at this interval. A reaper that has sent nothing for
# _CONTINUE_AFTER_PINGS pings gets SIGCONT, in case somebody has stopped it, and later SIGKILL: a
# hung reaper does not enforce the leases of its attempts.
_PING_INTERVAL_S: Final = 5.0
_CONTINUE_AFTER_PINGS: Final = 3
_KILL_AFTER_PINGS: Final = 6
# Time that a killed reaper may take to exit. After that it is treated as dead: a process that hangs
# in the kernel (on a dead disk) stays, but never executes another instruction of its program.
_EXIT_TIMEOUT_S: Final = 5.0

log = logging.getLogger(__name__)


class ReaperHandler(Protocol):
    """Interface of ReaperPool to its owner, which receives the messages and deaths of reapers."""

    def on_reaper_hello(self, reaper: str, attempts: Sequence[Any], starting: set[Key]) -> None: ...

    def on_reaper_messages(self, reaper: str, messages: Sequence[Any]) -> None: ...
    def on_reaper_death(self, reaper: str, dead: DeadReaper) -> None: ...
    def on_reaper_ready(self, reaper: str) -> None: ...
    def failed(self, error: Exception) -> None: ...


class _Reaper:
    def __init__(self, directory: Path) -> None:
        self.id = directory.name
        self.directory = directory
        self.connection: ReaperConnection | None = None
        # `pid`, `version` and `pings` from the reaper's last hello; empty before the first hello.
        self.identity: Json = {}
        # Set once the reaper has sent its hello or is dead: its attempts are known.
        self.known = asyncio.Event()
        self.dead = asyncio.Event()
        # Set once the reaper is dead, or was killed because it hung: no attempt may start in it.
        self.unusable = asyncio.Event()
        # Why the reaper cannot write its journal, from its last `pong`; "" if it can.
        self.journal_error = ""
        # The reaper's pid if it was killed because it hung; otherwise 0.
        self.hung_pid = 0
        # File descriptor of a dead reaper's lock file, whose lock the agent holds until the master
        # has acknowledged all ends in the reaper's journal; otherwise -1.
        self.lock = -1
        self.task: asyncio.Task[None] | None = None


class ReaperPool:
    """Connects to all reapers and recovers dead ones. New attempts start only in a reaper of the
    agent's own version."""

    def __init__(
        self,
        agent_dir: AgentDir,
        runtime: Path,
        boot_id: str,
        handler: ReaperHandler,
        ping_interval_s: float = _PING_INTERVAL_S,
    ) -> None:
        self._agent_dir = agent_dir
        self._runtime = runtime
        self._boot_id = boot_id
        self._handler = handler
        self._ping_interval_s = ping_interval_s
        self._reapers: dict[str, _Reaper] = {}
        self._terminating = False

    async def adopt_existing(self) -> None:
        """Wait until every existing reaper has sent its hello or has been recovered."""
        for directory in sorted(self._agent_dir.reapers.iterdir()):
            if directory.is_dir():
                self._track(directory)
        adopted = list(self._reapers.values())
        for reaper in adopted:
            await reaper.known.wait()
        for reaper in adopted:
            if reaper.identity.get("version", __version__) != __version__:
                # A reaper of another version: let it exit once its jobs have ended. New jobs start
                # in a reaper of the agent's version.
                self.send(reaper.id, [{"type": "retire"}])

    async def maintain(self) -> None:
        """Keep one reaper of the agent's version running for new attempts, until terminate()."""
        wait_s = 0.0
        while not self._terminating:
            reaper = next(filter(_is_current, self._reapers.values()), None)
            if reaper is None:
                await asyncio.sleep(wait_s)
                wait_s = min(max(2 * wait_s, 0.25), _MAX_RETRY_S)
                reaper = await self._launch()
            if reaper is not None:
                await reaper.known.wait()
                if not reaper.unusable.is_set():
                    self._handler.on_reaper_ready(reaper.id)
                    await reaper.unusable.wait()
                    log.warning("reaper %s no longer runs", reaper.id)

    def send(self, reaper: str, messages: Sequence[Json]) -> None:
        """Send messages to a reaper, or drop them if the reaper is dead or disconnected."""
        found = self._reapers.get(reaper)
        if found is not None and found.connection is not None:
            found.connection.send(messages)

    def remove(self, reaper: str) -> None:
        """Remove a dead reaper's directory: the master has acknowledged all ends in its journal."""
        found = self._reapers.pop(reaper, None)
        if found is not None:
            shutil.rmtree(found.directory, ignore_errors=True)
            if found.lock >= 0:
                os.close(found.lock)

    async def terminate(self, timeout_s: float) -> None:
        """Stop all reapers and their jobs. Ends that the master has not acknowledged stay in the
        reapers' journals for the next agent."""
        self._terminating = True
        living = [e for e in self._reapers.values() if "pid" in e.identity and not e.dead.is_set()]
        for reaper in living:
            with suppress(OSError):
                # The pid still belongs to the reaper: the agent is connected to it.
                os.kill(int(str(reaper.identity["pid"])), signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for reaper in living:
                    await reaper.dead.wait()

    async def close(self) -> None:
        """Disconnect from all reapers. The reapers and their jobs continue to run."""
        tasks = [each.task for each in self._reapers.values() if each.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for reaper in self._reapers.values():
            if reaper.connection is not None:
                reaper.connection.close()
            if reaper.lock >= 0:
                os.close(reaper.lock)
                reaper.lock = -1

    def pids(self) -> list[str]:
        """Return the pids of connected reapers, also of one that has not sent its hello yet."""
        return [str(e.connection.peer_pid) for e in self._reapers.values() if e.connection]

    async def _launch(self) -> _Reaper | None:
        directory = self._agent_dir.reapers / f"{__version__}-{secrets.token_hex(4)}"
        output, scratch = self._agent_dir.output, self._agent_dir.scratch
        try:
            warning = await asyncio.to_thread(
                launch_reaper, directory, output=output, scratch=scratch, runtime=self._runtime
            )
        except (OSError, Unreachable) as error:
            log.error("cannot launch a reaper, so no job can start: %s", error)
            return None
        if warning:
            log.warning("%s", warning)
        return self._track(directory)

    def _track(self, directory: Path) -> _Reaper:
        reaper = self._reapers[directory.name] = _Reaper(directory)
        reaper.task = asyncio.create_task(self._follow(reaper))
        reaper.task.add_done_callback(self._on_task_done)
        return reaper

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        # Report an internal error in the task as the agent's failure: no other code notices the
        # reaper's death.
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._handler.failed(error)

    async def _follow(self, reaper: _Reaper) -> None:
        """Stay connected to a reaper until it dies. Then report the ends of its attempts."""
        waited_s = 0.0
        while True:
            try:
                lock = try_lock(reaper.directory)
            except FileNotFoundError:
                # The reaper retired and removed its directory.
                break
            if lock is not None:
                reaper.lock = lock
                break
            try:
                on_messages = partial(self._handle_messages, reaper)
                connection = await connect_reaper(reaper.directory, on_messages)
            except OSError:
                # The reaper is starting or exiting: try again. Once it is dead, its lock is free.
                await asyncio.sleep(_RETRY_S)
                waited_s += _RETRY_S
                if abs(waited_s - _WARN_AFTER_S) < _RETRY_S / 2:
                    log.warning("cannot connect to reaper %s yet; still trying", reaper.id)
                continue
            reaper.connection = connection
            await self._ping_until_closed(reaper, connection)
            reaper.connection = None
            if connection.has_failed:
                await asyncio.sleep(_MAX_RETRY_S)
            if not connection.closed.is_set():
                connection.close()
                break
        await self._recover(reaper)

    async def _ping_until_closed(self, reaper: _Reaper, connection: ReaperConnection) -> None:
        """Ping a reaper, and kill it if it does not respond.

        Return when the connection is closed, or when the killed reaper has not exited in time.
        """
        missed = 0
        while True:
            if reaper.identity.get("pings"):
                connection.send([{"type": "ping"}])
            connection.has_received = False
            if await connection.wait_closed(self._ping_interval_s):
                return
            if connection.has_received or (reaper.identity and not reaper.identity.get("pings")):
                if missed >= _CONTINUE_AFTER_PINGS:
                    log.warning("reaper %s responds again", reaper.id)
                missed = 0
                continue
            missed += 1
            if missed == _CONTINUE_AFTER_PINGS:
                log.warning("reaper %s does not respond; sending it SIGCONT", reaper.id)
                connection.signal_peer(signal.SIGCONT)
            elif missed == _KILL_AFTER_PINGS:
                log.error("reaper %s (pid %d) hangs; killing it", reaper.id, connection.peer_pid)
                connection.signal_peer(signal.SIGKILL)
                reaper.hung_pid = connection.peer_pid
                reaper.unusable.set()
                await connection.wait_closed(_EXIT_TIMEOUT_S)
                return

    def _handle_messages(self, reaper: _Reaper, messages: Sequence[Any]) -> None:
        first = messages[0]
        if first["type"] == "hello":
            reaper.identity = {name: first[name] for name in ("pid", "version")}
            reaper.identity["pings"] = bool(first.get("pings"))
            # A reaper sends its hello after it has processed all messages of an earlier agent, so
            # its list of attempts is complete.
            starting = _starting_attempts(reaper.directory, first)
            self._handler.on_reaper_hello(reaper.id, first["attempts"], starting)
            reaper.known.set()
            messages = messages[1:]
        for each in messages:
            if each["type"] == "pong":
                _log_journal_error(reaper, each.get("journal_error", ""))
        self._handler.on_reaper_messages(reaper.id, messages)

    async def _recover(self, reaper: _Reaper) -> None:
        dead = None if reaper.lock >= 0 or reaper.hung_pid else DeadReaper((), ())
        while dead is None:
            try:
                dead = await asyncio.to_thread(
                    recover_reaper, reaper.directory, self._agent_dir, self._boot_id,
                    reaper.hung_pid,
                )  # fmt: skip
            except OSError as error:
                # Try again: without the journal it is unknown which attempts the reaper ran.
                log.error("cannot recover reaper %s, trying again: %s", reaper.id, error)
                await asyncio.sleep(_MAX_RETRY_S)
        if dead.lost:
            log.warning("reaper %s died; %d of its jobs are lost", reaper.id, len(dead.lost))
        self._handler.on_reaper_death(reaper.id, dead)
        reaper.dead.set()
        reaper.unusable.set()
        reaper.known.set()
        await asyncio.to_thread(remove_leftover_files, dead, self._agent_dir, self._runtime)


def _log_journal_error(reaper: _Reaper, error: str) -> None:
    if error and error != reaper.journal_error:
        log.error(
            "cannot write %s: %s; ends of jobs are reported once that is possible, nothing is lost",
            reaper.directory / "journal",
            error,
        )
    elif reaper.journal_error and not error:
        log.info("%s is written again", reaper.directory / "journal")
    reaper.journal_error = error


def _starting_attempts(directory: Path, hello: Any) -> set[Key]:
    """Return the attempts that a reaper has accepted but for which it has no process yet."""
    if "starting" in hello:
        return {(job, n) for job, n in hello["starting"]}
    # The hello of older versions does not list these attempts: read them from the reaper's journal.
    return set(read_journal(directory / "journal").unfinished)


def _is_current(reaper: _Reaper) -> bool:
    if reaper.unusable.is_set():
        return False
    return not reaper.identity or reaper.identity.get("version") == __version__
