"""The reapers of this machine: adopted when the agent starts, replaced when one dies."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec

from mythjobs import __version__
from mythjobs.agent import recovery
from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.turn import Json
from mythjobs.agent.recovery import DeadReaper
from mythjobs.config.state import AgentDir
from mythjobs.errors import ProtocolError, Unreachable
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.launch import find_socket_path, launch_reaper, try_lock
from mythjobs.process.reaper.messages import MAX_LINE_BYTES, decode_line, encode_line

# A tenth and a fifth of what the standard library takes, which was a third of all the CPU
# that the agent spent on a short job. It stands in where msgspec does not know what to do.
_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode
_RETRY_S: Final = 0.05
_WARN_AFTER_S: Final = 5.0
_MAX_RETRY_S: Final = 5.0

log = logging.getLogger(__name__)


class ReaperHandler(Protocol):
    """What is to be made of what reapers say, and of their deaths."""

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
        # As it said in its last hello.
        self.identity: Json = {}
        self.greeted = asyncio.Event()
        self.dead = asyncio.Event()
        # Held from its death until what its journal tells is acknowledged.
        self.lock = -1
        self.task: asyncio.Task[None] | None = None


class ReaperPool:
    def __init__(
        self, agent_dir: AgentDir, runtime: Path, boot_id: str, handler: ReaperHandler
    ) -> None:
        self._agent_dir = agent_dir
        self._runtime = runtime
        self._boot_id = boot_id
        self._handler = handler
        self._reapers: dict[str, _Reaper] = {}
        self._terminating = False

    async def adopt_existing(self) -> None:
        """Until every reaper there is has said what it has, or its estate is settled."""
        for directory in sorted(self._agent_dir.reapers.iterdir()):
            self._track(directory)
        adopted = list(self._reapers.values())
        for reaper in adopted:
            await _wait_first(reaper.greeted, reaper.dead)
        for reaper in adopted:
            if reaper.greeted.is_set() and reaper.identity.get("version") != __version__:
                # It keeps its jobs until the last is over; new ones get one of our version.
                self.send(reaper.id, [{"type": "retire"}])

    async def maintain(self) -> None:
        """Always have one reaper for new starts."""
        wait_s = 0.0
        while not self._terminating:
            reaper = next(filter(_is_current, self._reapers.values()), None)
            if reaper is None:
                await asyncio.sleep(wait_s)
                wait_s = min(max(2 * wait_s, 0.25), _MAX_RETRY_S)
                reaper = await self._launch()
            if reaper is not None:
                await _wait_first(reaper.greeted, reaper.dead)
                if not reaper.dead.is_set():
                    self._handler.on_reaper_ready(reaper.id)
                    await reaper.dead.wait()
                    log.warning("reaper %s is gone", reaper.id)

    def send(self, reaper: str, messages: Sequence[Json]) -> None:
        """What is said to one that is gone is lost, as to one whose connection broke."""
        found = self._reapers.get(reaper)
        if found is not None and found.connection is not None:
            found.connection.send(messages)

    def remove(self, reaper: str) -> None:
        """Its journal has told all it had to tell."""
        found = self._reapers.pop(reaper, None)
        if found is not None:
            shutil.rmtree(found.directory, ignore_errors=True)
            if found.lock >= 0:
                os.close(found.lock)

    async def terminate(self, timeout_s: float) -> None:
        """End them: what they have not had acknowledged stays in their journals."""
        self._terminating = True
        living = [e for e in self._reapers.values() if "pid" in e.identity and not e.dead.is_set()]
        for reaper in living:
            with suppress(OSError):
                # Nobody else can have this pid: we are connected to it.
                os.kill(int(str(reaper.identity["pid"])), signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
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
            if reaper.connection is not None:
                reaper.connection.close()
            if reaper.lock >= 0:
                os.close(reaper.lock)
                reaper.lock = -1

    def pids(self) -> list[str]:
        return [str(each.identity["pid"]) for each in self._reapers.values() if each.connection]

    async def _launch(self) -> _Reaper | None:
        directory = self._agent_dir.reapers / f"{__version__}-{secrets.token_hex(4)}"
        start = partial(
            launch_reaper,
            directory,
            output=self._agent_dir.output,
            scratch=self._agent_dir.scratch,
            runtime=self._runtime,
        )
        try:
            await asyncio.to_thread(start)
        except (OSError, Unreachable) as error:
            log.error("no job can start: %s", error)
            return None
        return self._track(directory)

    def _track(self, directory: Path) -> _Reaper:
        reaper = self._reapers[directory.name] = _Reaper(directory)
        reaper.task = asyncio.create_task(self._follow(reaper))
        reaper.task.add_done_callback(self._on_task_done)
        return reaper

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        # A fault of ours; without this one here the agent would be half dead.
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._handler.failed(error)

    async def _follow(self, reaper: _Reaper) -> None:
        """From its birth, or ours, to its death."""
        waited_s = 0.0
        while True:
            try:
                lock = try_lock(reaper.directory)
            except FileNotFoundError:
                await self._recover(reaper, None)  # it had nothing left and cleared up
                return
            if lock is not None:
                reaper.lock = lock
                await self._recover(reaper, lock)
                return
            try:
                link = await connect_reaper(
                    reaper.directory, partial(self._handle_messages, reaper)
                )
            except OSError:
                # It begins, or it is ending: its lock tells which in a moment.
                await asyncio.sleep(_RETRY_S)
                waited_s += _RETRY_S
                if abs(waited_s - _WARN_AFTER_S) < _RETRY_S / 2:
                    log.warning("reaper %s does not answer; waiting for it", reaper.id)
                continue
            reaper.connection = link
            await link.closed.wait()
            reaper.connection = None

    def _handle_messages(self, reaper: _Reaper, messages: Sequence[Any]) -> None:
        first = messages[0]
        if first["type"] == "hello":
            reaper.identity = {name: first[name] for name in ("pid", "version")}
            # It has read all that an agent before us wrote: what it is about to start is in
            # its journal by now, though it may not have a process that hello could tell of.
            starting = set(read_journal(reaper.directory / "journal").unfinished)
            self._handler.on_reaper_hello(reaper.id, first["attempts"], starting)
            reaper.greeted.set()
            messages = messages[1:]
        self._handler.on_reaper_messages(reaper.id, messages)

    async def _recover(self, reaper: _Reaper, lock: int | None) -> None:
        estate = DeadReaper((), ())
        if lock is not None:
            settle = partial(
                recovery.recover_reaper,
                reaper.directory,
                self._agent_dir,
                self._runtime,
                self._boot_id,
            )
            while True:
                try:
                    estate = await asyncio.to_thread(settle)
                    break
                except OSError as error:
                    # Without its journal nobody can say what it ran, and nobody guesses.
                    log.error("the estate of reaper %s cannot be read: %s", reaper.id, error)
                    await asyncio.sleep(_MAX_RETRY_S)
        if estate.lost:
            log.warning("reaper %s died; %d of its jobs are lost", reaper.id, len(estate.lost))
        self._handler.on_reaper_death(reaper.id, estate)
        reaper.dead.set()


def _is_current(reaper: _Reaper) -> bool:
    if reaper.dead.is_set():
        return False
    return not reaper.identity or reaper.identity.get("version") == __version__


async def _wait_first(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.create_task(each.wait()) for each in (first, second)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()


class ReaperConnection(asyncio.Protocol):
    """`hear` gets the messages of everything that was read at once; `lost` is set at the end."""

    def __init__(self, on_messages: Callable[[Sequence[Any]], None]) -> None:
        self._on_messages = on_messages
        self._partial = bytearray()
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            if messages := self._parse(data):
                self._on_messages(messages)
        except (ProtocolError, LookupError, TypeError) as error:
            log.exception("a reaper said what it should not: %r", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.closed.set()

    def send(self, messages: Sequence[Json]) -> None:
        """Lost if the connection is: on the next one all that matters is said again."""
        if self._transport is not None:
            self._transport.write(encode(messages))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _parse(self, data: bytes) -> list[Any]:
        """Those of every line that is complete now."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = bytes(self._partial) + whole[0]
            self._partial.clear()
        self._partial += rest
        if len(self._partial) > MAX_LINE_BYTES:
            raise ProtocolError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        return [message for line in whole for message in decode(line)]


def encode(messages: Sequence[Json]) -> bytes:
    """A line, in ASCII as docs/reaper.md has it: text that is not takes the long way."""
    try:
        line = _encode(messages)
    except UnicodeEncodeError:
        return encode_line(messages)
    return line + b"\n" if line.isascii() else encode_line(messages)


def decode(line: bytes) -> list[Any]:
    """The messages of a line, bytes that were no text included (surrogateescape)."""
    try:
        messages = _decode(line)
    except msgspec.DecodeError:
        return decode_line(line)
    return messages if isinstance(messages, list) else decode_line(line)


async def connect_reaper(
    directory: Path, on_messages: Callable[[Sequence[Any]], None]
) -> ReaperConnection:
    """Raises OSError while nobody listens there."""
    loop = asyncio.get_running_loop()
    path = str(find_socket_path(directory))
    _, link = await loop.create_unix_connection(lambda: ReaperConnection(on_messages), path)
    return link
