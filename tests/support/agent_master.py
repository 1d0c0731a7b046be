"""Scripted master at the socket of a state directory, and real agent processes."""

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
from mythjobs.process import procfs
from mythjobs.process.reaper.directory import try_lock
from mythjobs.process.reaper.journal import read_journal
from mythjobs.protocol import codec, handshake
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec

T = TypeVar("T", bound=m.AgentMessage)
WAIT_S = 60.0


class ScriptedMaster:
    """`received` are the agents' messages in order. Heartbeats and frames are answered."""

    def __init__(self, state: StateDir, jobs: int = 2) -> None:
        self.state = state
        self.key: Ed25519PrivateKey = keys.load_master_key(state)
        self.jobs = jobs
        self.received: list[m.AgentMessage] = []
        self.chunks: list[codec.OutputChunk] = []
        self.hellos: list[m.Hello] = []
        # Agents that disconnected instead of answering the challenge.
        self.unanswered_challenges = 0
        # False: send neither acknowledgements nor answers to heartbeats.
        self.acknowledges = True
        self.connection: ServerConnection | None = None
        self._hb = 0
        self._grants = 0
        self._changed = asyncio.Event()

    # Sending.

    async def send(self, *messages: m.MasterMessage, ack: int = 0) -> None:
        assert self.connection is not None
        frame = codec.encode(m.MasterFrame(ack, list(messages)))
        await self.connection.send(frame, text=True)

    async def grant(
        self, job: int, *argv: str, n: int = 1, terms: dict[str, Any] | None = None, **run: Any
    ) -> None:
        """`terms` are fields of the grant, such as lease and hours; `run` are fields of the run."""
        self._grants += 1
        what = RunSpec(list(argv), **run)
        await self.send(m.Grant(self._grants, self._hb, job, n, 0, what, **(terms or {})))

    async def fetch(self, transfer: int, job: int, **given: Any) -> None:
        given = {"stream": 1, "offset": 0, **given}
        await self.send(m.OutputFetch(transfer, job, 1, **given))

    # Receiving.

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def receive(self, kind: type[T], **wanted: object) -> T:
        """Wait for the first matching message, remove it from `received` and return it."""

        def find() -> T | None:
            for each in self.received:
                if isinstance(each, kind) and all(getattr(each, k) == v for k, v in wanted.items()):
                    return each
            return None

        await self.wait_until(lambda: find() is not None)
        found = find()
        assert found is not None
        self.received.remove(found)
        return found

    async def wait_connected(self) -> m.Hello:
        """Wait for an agent's hello and first heartbeat. Return the hello."""
        await self.wait_until(lambda: bool(self.hellos) and self._hb > 0)
        return self.hellos.pop()

    def transfer_bytes(self, transfer: int) -> bytes:
        """Return the data of a transfer, whose chunks must be contiguous."""
        data = b""
        pieces = [each for each in self.chunks if each.transfer == transfer]
        for piece in pieces:
            assert piece.offset == pieces[0].offset + len(data)
            data += piece.data
        return data

    # Serving.

    async def serve(self, connection: ServerConnection) -> None:
        nonce, ours = secrets.token_hex(32), handshake.encode_public_key(self.key)
        try:
            challenge = m.Challenge(nonce, 1, m.VERSION, ours)
            await connection.send(codec.encode(challenge), text=True)
            try:
                hello = codec.decode_handshake(await connection.recv())
            except ConnectionClosed:
                self.unanswered_challenges += 1
                return
            assert isinstance(hello, m.Hello)
            statement = handshake.build_transcript("machine", challenge, hello, "")
            handshake.verify(hello.machine_key, hello.signature, statement)
            answer = handshake.build_transcript("master", challenge, hello, "")
            signature = handshake.sign(self.key, answer)
            welcome = m.Welcome(hello.version, signature, 1, self.jobs, heartbeat_s=0.2)
            await connection.send(codec.encode(welcome), text=True)
            self.connection, self._hb, self._grants = connection, 0, 0
            self.hellos.append(hello)
            async for data in connection:
                await self._handle(data)
        except ConnectionClosed:
            pass
        finally:
            self._changed.set()

    async def _handle(self, data: bytes | str) -> None:
        if isinstance(data, bytes):
            self.chunks.append(codec.decode_chunk(data))
        else:
            frame = codec.decode_agent_frame(data)
            self.received += frame.messages
            beats = [each for each in frame.messages if isinstance(each, m.Heartbeat)]
            for each in beats:
                self._hb = each.hb
            if self.acknowledges:
                await self.send(*[m.Renew(each.hb) for each in beats], ack=frame.no)
        self._changed.set()


@asynccontextmanager
async def run_master(state: StateDir, **given: Any) -> AsyncIterator[ScriptedMaster]:
    master = ScriptedMaster(state, **given)
    path = str(state.root / "master.sock")
    async with unix_serve(master.serve, path, compression=None, close_timeout=0.1):
        yield master


class AgentProcess:
    """Process of `mythjobs agent`. `log` is its stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log = ""

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        async with asyncio.timeout(WAIT_S):
            _, log = await self._process.communicate()
        self.log += log.decode()
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def has_exited(self) -> bool:
        return self._process.returncode is not None


@asynccontextmanager
async def run_agent_process(state: StateDir, *options: str) -> AsyncIterator[AgentProcess]:
    """Run `mythjobs agent` with these options, and kill it at the end. The load of the machine does
    not limit its jobs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mythjobs", "--state-dir", str(state.root), "agent",
        "--no-scaling", *options,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    agent = AgentProcess(process)
    try:
        yield agent
    finally:
        if not agent.has_exited:
            process.kill()
            await agent.wait()


def find_reaper_pids(state: StateDir) -> list[int]:
    """Return the pids of running reapers: those whose lock is held.

    An agent holds the lock of a dead reaper while it removes the directory.
    """
    pids = []
    for directory in sorted(state.agent.reapers.glob("*")):
        try:
            lock = try_lock(directory)
        except FileNotFoundError:
            continue
        if lock is not None:
            os.close(lock)
            continue
        pid = int(read_journal(directory / "journal").reaper.get("pid", 0))
        process = procfs.read_process(pid) if pid else None
        if process is not None and not process.is_dead:
            pids.append(pid)
    return pids


def terminate_reapers(state: StateDir) -> None:
    """Terminate all reapers and wait until they and their jobs are exited."""
    for pid in find_reaper_pids(state):
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        exited, _, _ = select.select([process], [], [], WAIT_S)
        os.close(process)
        assert exited
