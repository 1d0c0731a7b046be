"""The agent's process: waits for master, reapers and signals, and carries out what the core says.

It decides nothing; see `core.py`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pwd
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from mythjobs.agent import capabilities, journal, output_scan, recovery
from mythjobs.agent.core.attempt import Attempt, Key
from mythjobs.agent.core.core import Core
from mythjobs.agent.core.start import base_env
from mythjobs.agent.core.turn import Action, Bury, Drop, Follow, Journal, Tell, Transfer
from mythjobs.agent.master_link import Link, Myself
from mythjobs.agent.output_scan import Followers
from mythjobs.agent.output_transfer import Transfers
from mythjobs.agent.reaper_client import Reapers
from mythjobs.agent.recovery import Estate
from mythjobs.clock import Now, machine_now
from mythjobs.config import keys, locks, runtime
from mythjobs.config.hangup import hangup
from mythjobs.config.state import StateDir
from mythjobs.errors import StoreFailed
from mythjobs.protocol import messages as m

# How long the master is given, once all jobs are ended, to hear so and to take their output.
_LAST_WORDS_S: Final = 5.0
# While something is held that must end, start or stand still by the clock.
_CHECK_S: Final = 1.0

T = TypeVar("T")
log = logging.getLogger(__name__)


def run_agent(
    state: StateDir,
    *,
    name: str | None = None,
    jobs: int | None = None,
    stop_jobs: bool = False,
) -> None:
    """Serve this machine until a signal ends it. Raises Taken, StoreFailed, ConfigError.

    `jobs` is the most that run at once here, whatever the master's ceiling. TERM and INT end
    the agent; its jobs go on, and the next agent adopts them. With `stop_jobs`, and always
    on USR1, they are ended first. A second signal ends the agent at once.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s agent: %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    state.agent.root.mkdir(mode=0o700, exist_ok=True)
    with locks.hold(state.agent.lock, "an agent"):
        state.agent.make()
        agent = Agent(state, name or socket.gethostname(), jobs)
        try:
            import uvloop
        except ImportError:
            asyncio.run(agent.run(stop_jobs))
        else:
            uvloop.run(agent.run(stop_jobs))


class Agent:
    def __init__(self, state: StateDir, name: str, jobs: int | None) -> None:
        self._places = state.agent
        self._boot_id = boot_id()
        user = pwd.getpwuid(os.getuid())
        env = base_env(os.environ, user=user.pw_name, home=user.pw_dir, shell=user.pw_shell)
        self._core = Core(env, jobs=jobs)
        self._core.found(journal.read(self._places.journal, self._boot_id))
        self._journal = journal.Journal(
            self._places.journal, self._boot_id, self._core.snapshot, self._durable, self.failed
        )
        key = keys.own_key(self._places.key)
        myself = Myself(
            key,
            name,
            self._boot_id,
            secrets.token_hex(16),
            capabilities.machine_zone(os.environ),
            capabilities.abilities_here(),
        )
        self._link = Link(state, myself, self)
        self._reapers = Reapers(self._places, runtime.runtime_dir(state), self._boot_id, self)
        self._transfers = Transfers(
            self._places.output, self._core.get, self._follow, self._output_end
        )
        self._followers = Followers(self._places.output)
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._failed_with: Exception | None = None
        self._adopted = False
        # Set by whatever the core is told.
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, stop_jobs: bool) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *hangup()):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        serving = asyncio.create_task(self._serve())
        try:
            told = await self._either(serving, self._signals.get())
            if told is not None and (stop_jobs or told is signal.SIGUSR1):
                await self._either(self._stop_jobs(), self._signals.get())
            if told is not None and self._core.running:
                pids = ", ".join(self._reapers.pids())
                what = "1 job goes" if self._core.running == 1 else f"{self._core.running} jobs go"
                log.info("%s on, kept by their reaper (pid %s)", what, pids)
        finally:
            serving.cancel()
            if self._timer is not None:
                self._timer.cancel()
            await asyncio.wait([serving])
            await self._reapers.close()
            self._journal.close()
        if not serving.cancelled():
            serving.result()
        if self._failed_with is not None:
            raise self._failed_with

    async def _serve(self) -> None:
        await self._reapers.adopt()
        self._do(self._core.adopted(machine_now()))
        self._adopted = True
        known = self._core.known()
        recovery.drop(recovery.unknown(self._places.output, known))
        # Which they are is found out before anything new is started; to remove them may take long.
        stale = recovery.unknown(self._places.scratch, known)
        # What is here now stays: the collector need not look through it again.
        gc.collect()
        gc.freeze()
        removal = asyncio.to_thread(recovery.drop, stale)
        await asyncio.gather(self._reapers.keep(), self._link.keep(), removal)

    async def _stop_jobs(self) -> None:
        # Until every reaper has been heard, what runs here is not known.
        await self._until(lambda: self._adopted)
        log.info("ending %d jobs", self._core.running)
        self._do(self._core.stop_all("shutdown"))
        await self._until(lambda: not self._core.running)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._until(lambda: not (self._core.unsaid and self._link.connected))
        await self._reapers.end(_LAST_WORDS_S)
        log.info("all jobs are ended")

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def _either(self, serving: Awaitable[object], told: Awaitable[T]) -> T | None:
        """What was told, or None if the other was over first, or the disk failed."""
        first = asyncio.ensure_future(serving)
        second = asyncio.ensure_future(told)
        failed = asyncio.ensure_future(self._until(lambda: self._failed_with is not None))
        await asyncio.wait([first, second, failed], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if second.done():
            return second.result()
        second.cancel()
        return None

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Tell():
                    self._reapers.tell(action.reaper, action.messages)
                case Journal():
                    try:
                        self._journal.write(action)
                    except StoreFailed as error:
                        self.failed(error)
                        return
                case Follow():
                    self._look_at(action.attempt)
                case Transfer():
                    self._transfers.hear(action.message)
                case Drop():
                    recovery.drop_output(self._places.output, action.key, action.output)
                case Bury():
                    self._reapers.bury(action.reaper)
        self._changed.set()
        self._link.wake()
        if self._timer is None and self._core.on_terms:
            self._timer = asyncio.get_running_loop().call_later(_CHECK_S, self._check)

    def _check(self) -> None:
        self._timer = None
        self._do(self._core.check(machine_now()))

    def _look_at(self, attempt: Attempt) -> None:
        if attempt.progress:
            try:
                percent = self._followers.grew(attempt)
            except OSError as error:
                # Its disk may come back, and nothing else depends on it.
                log.warning("the output of job %d cannot be read: %s", attempt.key[0], error)
                percent = None
            if percent is not None:
                self._core.progress(attempt.key, percent)
        self._transfers.grew(attempt)

    # The journal's desk.

    def _durable(self, token: int) -> None:
        self._do(self._core.journalled(token, machine_now()))

    def failed(self, error: Exception) -> None:
        self._failed_with = error
        self._changed.set()

    # The reapers' desk.

    def reaper_said_hello(self, reaper: str, attempts: Sequence[Any], starting: set[Key]) -> None:
        self._look_for_later(attempts)
        self._do(self._core.on_hello(reaper, attempts, starting, machine_now()))

    def reaper_said(self, reaper: str, messages: Sequence[Any]) -> None:
        self._look_for_later(messages)
        self._do(self._core.on_reaper(reaper, messages, machine_now()))

    def _look_for_later(self, messages: Sequence[Any]) -> None:
        """An end is told with what its output says of another time, if its command looks for it."""
        for each in messages:
            if "outcome" in each and each["output"]:
                attempt = self._core.get((each["job"], each["n"]))
                if attempt is not None and attempt.terms.later:
                    each["later"] = output_scan.look(self._places.output, each, attempt.terms.later)

    def reaper_died(self, reaper: str, estate: Estate) -> None:
        self._look_for_later(estate.ended)
        self._do(self._core.reaper_died(reaper, estate.ended, estate.left, machine_now()))

    def use_reaper(self, reaper: str) -> None:
        self._do(self._core.use_reaper(reaper, machine_now()))

    # The link's desk.

    def connected(self, jobs: int) -> None:
        self._core.connected(jobs)
        self._link.wake()

    def disconnected(self) -> None:
        self._transfers.clear()
        self._changed.set()

    def hear(self, frame: m.MasterFrame, now: Now) -> None:
        self._do(self._core.on_master(frame, now))

    def beat(self, now: Now) -> None:
        self._do(self._core.beat(now))

    def frame(self, now: Now) -> m.AgentFrame | None:
        return self._core.frame(now)

    def chunk(self) -> bytes | None:
        return self._transfers.next()

    def wake_ms(self) -> int | None:
        return self._core.wake_ms()

    @property
    def unanswered(self) -> int:
        return self._core.unanswered

    # The transfers' desk.

    def _follow(self, key: Key, change: int) -> None:
        self._do(self._core.watch(key, change))

    def _output_end(self, end: m.OutputEnd) -> None:
        self._core.output_end(end)
        self._link.wake()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
