"""The reapers of this machine: adopted when the agent starts, replaced when one dies."""

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
from mythjobs.agent import reaperlink, recovery
from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.turn import Json
from mythjobs.agent.recovery import Estate
from mythjobs.config.state import AgentDir
from mythjobs.errors import Unreachable
from mythjobs.process.reaper import address
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.launch import launch

_RETRY_S: Final = 0.05
_PATIENCE_S: Final = 5.0
_LONGEST_WAIT_S: Final = 5.0

log = logging.getLogger(__name__)


class Desk(Protocol):
    """What is to be made of what reapers say, and of their deaths."""

    def reaper_said_hello(
        self, reaper: str, attempts: Sequence[Any], starting: set[Key]
    ) -> None: ...

    def reaper_said(self, reaper: str, messages: Sequence[Any]) -> None: ...
    def reaper_died(self, reaper: str, estate: Estate) -> None: ...
    def use_reaper(self, reaper: str) -> None: ...
    def failed(self, error: Exception) -> None: ...


class _Reaper:
    def __init__(self, directory: Path) -> None:
        self.id = directory.name
        self.directory = directory
        self.link: reaperlink.ReaperLink | None = None
        # As it said in its last hello.
        self.who: Json = {}
        self.heard = asyncio.Event()
        self.dead = asyncio.Event()
        # Held from its death until what its journal tells is acknowledged.
        self.lock = -1
        self.task: asyncio.Task[None] | None = None


class Reapers:
    def __init__(self, places: AgentDir, runtime: Path, boot_id: str, desk: Desk) -> None:
        self._places = places
        self._runtime = runtime
        self._boot_id = boot_id
        self._desk = desk
        self._reapers: dict[str, _Reaper] = {}
        self._ending = False

    async def adopt(self) -> None:
        """Until every reaper there is has said what it has, or its estate is settled."""
        for directory in sorted(self._places.reapers.iterdir()):
            self._watch(directory)
        adopted = list(self._reapers.values())
        for reaper in adopted:
            await _either(reaper.heard, reaper.dead)
        for reaper in adopted:
            if reaper.heard.is_set() and reaper.who.get("version") != __version__:
                # It keeps its jobs until the last is over; new ones get one of our version.
                self.tell(reaper.id, [{"type": "retire"}])

    async def keep(self) -> None:
        """Always have one reaper for new starts."""
        wait_s = 0.0
        while not self._ending:
            reaper = next(filter(_is_ours, self._reapers.values()), None)
            if reaper is None:
                await asyncio.sleep(wait_s)
                wait_s = min(max(2 * wait_s, 0.25), _LONGEST_WAIT_S)
                reaper = await self._launch()
            if reaper is not None:
                await _either(reaper.heard, reaper.dead)
                if not reaper.dead.is_set():
                    self._desk.use_reaper(reaper.id)
                    await reaper.dead.wait()
                    log.warning("reaper %s is gone", reaper.id)

    def tell(self, reaper: str, messages: Sequence[Json]) -> None:
        """What is said to one that is gone is lost, as to one whose connection broke."""
        found = self._reapers.get(reaper)
        if found is not None and found.link is not None:
            found.link.send(messages)

    def bury(self, reaper: str) -> None:
        """Its journal has told all it had to tell."""
        found = self._reapers.pop(reaper, None)
        if found is not None:
            shutil.rmtree(found.directory, ignore_errors=True)
            if found.lock >= 0:
                os.close(found.lock)

    async def end(self, patience_s: float) -> None:
        """End them: what they have not had acknowledged stays in their journals."""
        self._ending = True
        living = [e for e in self._reapers.values() if "pid" in e.who and not e.dead.is_set()]
        for reaper in living:
            with suppress(OSError):
                # Nobody else can have this pid: we are connected to it.
                os.kill(int(str(reaper.who["pid"])), signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                for reaper in living:
                    await reaper.dead.wait()

    async def close(self) -> None:
        """Let go of them; they and their jobs go on."""
        tasks = [each.task for each in self._reapers.values() if each.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for reaper in self._reapers.values():
            if reaper.link is not None:
                reaper.link.close()
            if reaper.lock >= 0:
                os.close(reaper.lock)
                reaper.lock = -1

    def pids(self) -> list[str]:
        return [str(each.who["pid"]) for each in self._reapers.values() if each.link]

    async def _launch(self) -> _Reaper | None:
        directory = self._places.reapers / f"{__version__}-{secrets.token_hex(4)}"
        start = partial(
            launch,
            directory,
            output=self._places.output,
            scratch=self._places.scratch,
            runtime=self._runtime,
        )
        try:
            await asyncio.to_thread(start)
        except (OSError, Unreachable) as error:
            log.error("no job can start: %s", error)
            return None
        return self._watch(directory)

    def _watch(self, directory: Path) -> _Reaper:
        reaper = self._reapers[directory.name] = _Reaper(directory)
        reaper.task = asyncio.create_task(self._serve(reaper))
        reaper.task.add_done_callback(self._served)
        return reaper

    def _served(self, task: asyncio.Task[None]) -> None:
        # A fault of ours; without this one here the agent would be half dead.
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._desk.failed(error)

    async def _serve(self, reaper: _Reaper) -> None:
        """From its birth, or ours, to its death."""
        waited_s = 0.0
        while True:
            try:
                lock = address.take_lock(reaper.directory)
            except FileNotFoundError:
                await self._inherit(reaper, None)  # it had nothing left and cleared up
                return
            if lock is not None:
                reaper.lock = lock
                await self._inherit(reaper, lock)
                return
            try:
                link = await reaperlink.connect(reaper.directory, partial(self._hear, reaper))
            except OSError:
                # It begins, or it is ending: its lock tells which in a moment.
                await asyncio.sleep(_RETRY_S)
                waited_s += _RETRY_S
                if abs(waited_s - _PATIENCE_S) < _RETRY_S / 2:
                    log.warning("reaper %s does not answer; waiting for it", reaper.id)
                continue
            reaper.link = link
            await link.lost.wait()
            reaper.link = None

    def _hear(self, reaper: _Reaper, messages: Sequence[Any]) -> None:
        first = messages[0]
        if first["type"] == "hello":
            reaper.who = {name: first[name] for name in ("pid", "version")}
            # It has read all that an agent before us wrote: what it is about to start is in
            # its journal by now, though it may not have a process that hello could tell of.
            starting = set(read_journal(reaper.directory / "journal").open)
            self._desk.reaper_said_hello(reaper.id, first["attempts"], starting)
            reaper.heard.set()
            messages = messages[1:]
        self._desk.reaper_said(reaper.id, messages)

    async def _inherit(self, reaper: _Reaper, lock: int | None) -> None:
        estate = Estate((), ())
        if lock is not None:
            settle = partial(
                recovery.settle, reaper.directory, self._places, self._runtime, self._boot_id
            )
            while True:
                try:
                    estate = await asyncio.to_thread(settle)
                    break
                except OSError as error:
                    # Without its journal nobody can say what it ran, and nobody guesses.
                    log.error("the estate of reaper %s cannot be read: %s", reaper.id, error)
                    await asyncio.sleep(_LONGEST_WAIT_S)
        if estate.left:
            log.warning("reaper %s died; %d of its jobs are lost", reaper.id, len(estate.left))
        self._desk.reaper_died(reaper.id, estate)
        reaper.dead.set()


def _is_ours(reaper: _Reaper) -> bool:
    if reaper.dead.is_set():
        return False
    return not reaper.who or reaper.who.get("version") == __version__


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.create_task(each.wait()) for each in (first, second)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()
