"""A master that a test scripts, at the socket of a state directory, and real agents under it."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from mythjobs.config import keys
from mythjobs.config.state import StateDir
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.launch import try_lock
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m

T = TypeVar("T", bound=m.AgentMessage)
WAIT_S = 20.0


class Master:
    """`heard` is all that agents said, in order; heartbeats and frames are answered by itself."""

    def __init__(self, state: StateDir, jobs: int = 2) -> None:
        self.state = state
        self.key: Ed25519PrivateKey = keys.master_key(state)
        self.jobs = jobs
        self.heard: list[m.AgentMessage] = []
        self.chunks: list[codec.Chunk] = []
        self.hellos: list[m.Hello] = []
        # Agents that went away instead of saying who they are.
        self.left_unanswered = 0
        # What it owes and does not give: acknowledgements, answers to heartbeats.
        self.acknowledges = True
        self.connection: ServerConnection | None = None
        self._hb = 0
        self._grants = 0
        self._news = asyncio.Event()

    # What it says.

    async def send(self, *messages: m.MasterMessage, ack: int = 0) -> None:
        assert self.connection is not None
        frame = codec.encode(m.MasterFrame(ack, list(messages)))
        await self.connection.send(frame, text=True)

    async def grant(
        self, job: int, *argv: str, n: int = 1, terms: dict[str, Any] | None = None, **run: Any
    ) -> None:
        """`terms` are the grant's own fields, as lease and hours; the others are the run's."""
        self._grants += 1
        what = m.Run(list(argv), **run)
        await self.send(m.Grant(self._grants, self._hb, job, n, 0, what, **(terms or {})))

    async def fetch(self, transfer: int, job: int, **given: Any) -> None:
        given = {"stream": 1, "offset": 0, **given}
        await self.send(m.OutputFetch(transfer, job, 1, **given))

    # What it hears.

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def hear(self, kind: type[T], **wanted: object) -> T:
        """The first such message, taken out of what was heard."""

        def find() -> T | None:
            for each in self.heard:
                if isinstance(each, kind) and all(getattr(each, k) == v for k, v in wanted.items()):
                    return each
            return None

        await self.until(lambda: find() is not None)
        found = find()
        assert found is not None
        self.heard.remove(found)
        return found

    async def connected(self) -> m.Hello:
        """The next agent that has said who it is, and what it holds."""
        await self.until(lambda: bool(self.hellos) and self._hb > 0)
        return self.hellos.pop()

    def bytes_of(self, transfer: int) -> bytes:
        """What came of a transfer; its pieces fit together."""
        data = b""
        pieces = [each for each in self.chunks if each.transfer == transfer]
        for piece in pieces:
            assert piece.offset == pieces[0].offset + len(data)
            data += piece.data
        return data

    # How it serves.

    async def serve(self, connection: ServerConnection) -> None:
        nonce, ours = secrets.token_hex(32), handshake.public_hex(self.key)
        try:
            await connection.send(codec.encode(m.Challenge(nonce, 1, 1, ours)), text=True)
            try:
                hello = codec.handshake(await connection.recv())
            except ConnectionClosed:
                self.left_unanswered += 1
                return
            assert isinstance(hello, m.Hello)
            said = (nonce, hello.nonce, ours, hello.machine_key)
            statement = handshake.statement("machine", *said)
            handshake.verify(hello.machine_key, hello.signature, statement)
            signature = handshake.sign(self.key, handshake.statement("master", *said))
            welcome = m.Welcome(1, signature, 1, self.jobs, heartbeat_s=0.2)
            await connection.send(codec.encode(welcome), text=True)
            self.connection, self._hb, self._grants = connection, 0, 0
            self.hellos.append(hello)
            async for data in connection:
                await self._take(data)
        except ConnectionClosed:
            pass
        finally:
            self._news.set()

    async def _take(self, data: bytes | str) -> None:
        if isinstance(data, bytes):
            self.chunks.append(codec.decode_chunk(data))
        else:
            frame = codec.agent_frame(data)
            self.heard += frame.messages
            beats = [each for each in frame.messages if isinstance(each, m.Heartbeat)]
            for each in beats:
                self._hb = each.hb
            if self.acknowledges:
                await self.send(*[m.Renew(each.hb) for each in beats], ack=frame.no)
        self._news.set()


@asynccontextmanager
async def a_master(state: StateDir, **given: Any) -> AsyncIterator[Master]:
    master = Master(state, **given)
    path = str(state.root / "master.sock")
    async with unix_serve(master.serve, path, compression=None, close_timeout=0.1):
        yield master


class AgentProcess:
    """`mythjobs agent` as a process of its own; `log` is what it wrote on stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log = ""

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(WAIT_S):
            _, log = await self._process.communicate()
        self.log += log.decode()
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def is_over(self) -> bool:
        return self._process.returncode is not None


@asynccontextmanager
async def an_agent(state: StateDir, *words: str) -> AsyncIterator[AgentProcess]:
    """At the end it is killed, if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mythjobs", "--state-dir", str(state.root), "agent", *words,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    agent = AgentProcess(process)
    try:
        yield agent
    finally:
        if not agent.is_over:
            process.kill()
            await agent.ended()


def living_reapers(state: StateDir) -> list[int]:
    """Their pids; a reaper lives as long as its lock is held."""
    pids = []
    for directory in sorted(state.agent.reapers.glob("*")):
        lock = try_lock(directory)
        if lock is not None:
            os.close(lock)
        else:
            pids.append(int(read_journal(directory / "journal").reaper["pid"]))
    return pids


def end_reapers(state: StateDir) -> None:
    """And wait until they, and what they had running, are gone."""
    for pid in living_reapers(state):
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        gone, _, _ = select.select([process], [], [], WAIT_S)
        os.close(process)
        assert gone
