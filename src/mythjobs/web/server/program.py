"""A master as a program: its two doors, its loops and its agent, from the lock to the last word."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import uvloop

import mythjobs
from mythjobs.config import keys, locks, runtime, tokens
from mythjobs.config.hangup import hangup
from mythjobs.config.settings import VARIABLE, store_of
from mythjobs.config.state import MasterInfo, StateDir, write_master
from mythjobs.errors import MythJobsError
from mythjobs.master.service import Master
from mythjobs.web.routes import batches
from mythjobs.web.security.access import AccessControl
from mythjobs.web.security.http_limits import LimitedConnection, LocalConnection
from mythjobs.web.server.app import build_app
from mythjobs.web.server.listener import Listener
from mythjobs.web.server.local_agent import LocalAgent
from mythjobs.web.server.sockets import LOOPBACK, bind_path, bind_port

# Answers that are under way when the master ends (a log that is followed) get so long.
CLOSE_GRACE_S: Final = 2.0
# timeout(1) and terminals signal a process and its group: two signals, one wish.
DUPLICATE_SIGNAL_S: Final = 0.3
SOCKET_NAME: Final = "master.sock"
log = logging.getLogger(__name__)


def run_master(
    state: StateDir,
    *,
    port: int,
    jobs: int | None,
    local_agent: bool,
    stop_jobs: bool,
    ready: Callable[[str], None],
    store: str | None = None,
) -> int:
    """Serve until a signal comes; the exit code. `ready` is told the address. `store` is a URL
    that stands above what the configuration says.

    Raises Taken, StoreFailed, ConfigError, StateNotWritable and BadRequest, each with the exit
    code that belongs to it. A loop that fails ends the program: no half-dead master.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s master: %(message)s")
    for noisy in ("uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # The loop must not wait for the turns' thread longer than a request takes: by default a
    # thread that computes keeps the interpreter for 5 ms.
    sys.setswitchinterval(0.0005)
    with locks.hold(state.master_lock, "a master"):
        agent = LocalAgent(state) if local_agent else None
        where = store_of(state, store, os.environ)
        # What it starts must not inherit a password.
        os.environ.pop(VARIABLE, None)
        program = MasterProgram(state, agent, stop_jobs, where)
        try:
            uvloop.run(program.run(port, jobs, ready))
        except MythJobsError:
            raise
        except Exception:
            log.exception("the master failed and ends; running jobs go on")
            return os.EX_SOFTWARE
    return os.EX_OK


class MasterProgram:
    def __init__(
        self, state: StateDir, agent: LocalAgent | None, stop_jobs: bool, store: str | Path
    ) -> None:
        self._state = state
        self._store = store
        self._agent = agent
        self._stop_jobs = stop_jobs
        self._stop_signal: asyncio.Future[signal.Signals] | None = None
        self._signalled_at_s = 0.0

    async def run(self, port: int, jobs: int | None, ready: Callable[[str], None]) -> None:
        self._stop_signal = asyncio.get_running_loop().create_future()
        self._catch_signals()
        async with AsyncExitStack() as stack:
            sock = bind_port(port)
            stack.callback(sock.close)
            token = tokens.own_token(self._state)
            key = keys.master_key(self._state)
            batches.remove_stale_uploads(self._state.uploads)
            master = Master(
                self._state,
                key,
                allow_local=self._agent is not None,
                local_jobs=jobs,
                store=self._store,
            )
            stack.push_async_callback(master.close)
            master.start()
            address = await self._open_listeners(stack, master, sock, token)
            loops = [asyncio.create_task(master.outputs.run())]
            if self._agent is not None:
                loops.append(asyncio.create_task(self._agent.keep_running()))
            stack.push_async_callback(_cancel_tasks, loops)
            # What is here now stays. To look through it again takes the collector 40 ms, in which
            # nobody is answered.
            gc.collect()
            gc.freeze()
            ready(address)
            ends: list[asyncio.Future[Any]] = [self._stop_signal, master.failed, *loops]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()  # of what failed: ends us, and no agent is told to end
            await self._stop_agent(master, loops)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, *hangup()):
            loop.add_signal_handler(number, self._handle_signal, number)

    def _handle_signal(self, number: signal.Signals) -> None:
        assert self._stop_signal is not None
        now = asyncio.get_running_loop().time()
        if not self._stop_signal.done():
            self._stop_signal.set_result(number)
            self._signalled_at_s = now
        elif now - self._signalled_at_s > DUPLICATE_SIGNAL_S:
            # Asked a second time: at once. Jobs, agent and store can bear that at any moment.
            os._exit(128 + number)

    async def _open_listeners(
        self, stack: AsyncExitStack, master: Master, sock: socket.socket, token: str
    ) -> str:
        """Both doors, and the note that says where they are. Closed again by the stack."""
        app = build_app(master, master.links)
        path = runtime.socket_path(self._state, SOCKET_NAME)
        local_sock = bind_path(path)
        stack.callback(_remove, path)
        for door, each in (
            (Listener(AccessControl(app, token), LimitedConnection, browser_headers=True), sock),
            (
                Listener(AccessControl(app, None), LocalConnection, browser_headers=False),
                local_sock,
            ),
        ):
            await door.open(each)
            stack.push_async_callback(door.close, CLOSE_GRACE_S)
        port = sock.getsockname()[1]
        address = f"http://{LOOPBACK}:{port}"
        info = MasterInfo(os.getpid(), address, port, str(path), mythjobs.__version__, master.store)
        write_master(self._state, info)
        stack.callback(_remove, self._state.master_json)
        return address

    async def _stop_agent(self, master: Master, loops: list[asyncio.Task[None]]) -> None:
        """While the doors are open, so that what it has to say last is heard."""
        if self._agent is None:
            return
        await _cancel_tasks(loops[1:])
        if self._stop_jobs:
            if not await self._agent.stop(stop_jobs=True):
                log.warning("the agent did not end its jobs in time; they go on")
            return
        running = await _count_running(master)
        await self._agent.stop(stop_jobs=False)
        if running:
            what = "1 job goes" if running == 1 else f"{running} jobs go"
            print(
                f"{what} on running; `mythjobs up` takes them up again", file=sys.stderr, flush=True
            )


async def _count_running(master: Master) -> int:
    """How many jobs run. The store may be what is ill, so this is not waited for."""
    try:
        async with asyncio.timeout(CLOSE_GRACE_S):
            return int((await master.read_status())["counts"]["running"])
    except (MythJobsError, TimeoutError):
        return 0


async def _cancel_tasks(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
