"""Master program: state lock, listeners, background tasks, local agent and shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import uvloop

import mythjobs
from mythjobs.config import keys, locks, runtime, tokens
from mythjobs.config.log_setup import set_up_logging
from mythjobs.config.os_errors import explaining_os_errors
from mythjobs.config.settings import STORE_VARIABLE, choose_store, read_retention_setting
from mythjobs.config.state import MasterInfo, StateDir, write_master_info
from mythjobs.errors import MythJobsError
from mythjobs.master.service import Master
from mythjobs.model.retention import Retention
from mythjobs.web.network.sockets import LOOPBACK, bind_path, bind_port
from mythjobs.web.routes import batches
from mythjobs.web.security.connection_limit import raise_file_limit
from mythjobs.web.server.listeners import Listeners
from mythjobs.web.server.local_agent import LocalAgent
from mythjobs.web.server.mythtv_bridge import BridgeProcess

# Time for running responses (such as a followed log) to finish when the master stops.
CLOSE_GRACE_S: Final = 2.0
# A second signal within this time is no second request to stop: timeout(1) and terminals signal a
# process and also its group.
DUPLICATE_SIGNAL_S: Final = 0.3
# A submit right after the start waits this long for the local agent to connect.
LOCAL_AGENT_WAIT_S: Final = 2.0
SOCKET_NAME: Final = "master.sock"
log = logging.getLogger(__name__)


def run_master(
    state_dir: StateDir,
    *,
    port: int,
    jobs: int | None,
    local_agent: bool,
    stop_jobs: bool,
    has_scaling: bool = True,
    ready: Callable[[str], None],
    store: str | None = None,
) -> int:
    """Serve until a signal arrives; return the exit code.

    ready: called with the address when requests are accepted. store: PostgreSQL URL from the
    command line.

    Raises AlreadyRunning, StoreFailed, ConfigError, StateNotWritable and BadRequest. A failed
    background task ends the program, so that no partly working master remains.
    """
    set_up_logging("master")
    # By default a thread that computes keeps the GIL for 5 ms. The event loop must not wait that
    # long for the thread that runs the master's transactions.
    sys.setswitchinterval(0.0005)
    with explaining_os_errors(state_dir), locks.acquire(state_dir.master_lock, "a master"):
        file_limit = raise_file_limit()
        agent = None
        if local_agent:
            agent = LocalAgent(state_dir, has_scaling=has_scaling, file_limit=file_limit)
        store_location = choose_store(state_dir, store, os.environ)
        # Child processes must not inherit the store's password.
        os.environ.pop(STORE_VARIABLE, None)
        program = MasterProgram(
            state_dir, agent, stop_jobs, store_location, read_retention_setting(state_dir)
        )
        try:
            with explaining_os_errors(state_dir):
                uvloop.run(program.run(port, jobs, ready))
        except MythJobsError:
            raise
        except Exception:
            log.exception("internal error, the master exits; running jobs continue")
            return os.EX_SOFTWARE
    return os.EX_OK


class MasterProgram:
    """Runs the master in one event loop until a signal or a failure."""

    def __init__(
        self,
        state_dir: StateDir,
        agent: LocalAgent | None,
        stop_jobs: bool,
        store: str | Path,
        retention: Retention,
    ) -> None:
        self._state_dir = state_dir
        self._retention = retention
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
            token = tokens.load_or_create_token(self._state_dir)
            key = keys.load_master_key(self._state_dir)
            batches.remove_stale_uploads(self._state_dir.uploads)
            master = Master(
                self._state_dir,
                key,
                allow_local=self._agent is not None,
                local_jobs=jobs,
                store=self._store,
                local_agent_wait_s=0.0 if self._agent is None else LOCAL_AGENT_WAIT_S,
                retention=self._retention,
            )
            stack.push_async_callback(master.close)
            master.start()
            address = await self._open_listeners(stack, master, sock, token)
            tasks = [
                asyncio.create_task(master.outputs.run()),
                asyncio.create_task(master.retention.run()),
                asyncio.create_task(master.delivery.run()),
            ]
            if self._agent is not None:
                tasks.append(asyncio.create_task(self._agent.keep_running()))
            tasks.append(asyncio.create_task(BridgeProcess(self._state_dir).keep_running()))
            stack.push_async_callback(_cancel_tasks, tasks)
            # Objects created so far live as long as the process. Exempt them from collection: a
            # full pass takes 40 ms, during which no request is answered.
            gc.collect()
            gc.freeze()
            ready(address)
            ends: list[asyncio.Future[Any]] = [self._stop_signal, master.failed, *tasks]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()  # raises the error of a failed task; then the agent is not stopped
            await self._stop_agent(master, tasks)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, *runtime.hangup_signals()):
            loop.add_signal_handler(number, self._handle_signal, number)

    def _handle_signal(self, number: signal.Signals) -> None:
        assert self._stop_signal is not None
        now = asyncio.get_running_loop().time()
        if not self._stop_signal.done():
            log.info("stopping after %s", number.name)
            self._stop_signal.set_result(number)
            self._signalled_at_s = now
        elif now - self._signalled_at_s > DUPLICATE_SIGNAL_S:
            # A second signal exits at once, which is safe for jobs, agent and store at any time.
            os._exit(128 + number)

    async def _open_listeners(
        self, stack: AsyncExitStack, master: Master, sock: socket.socket, token: str
    ) -> str:
        """Open all listeners and write master.json; return the TCP address."""
        path = runtime.choose_socket_path(self._state_dir, SOCKET_NAME)
        local_sock = bind_path(path)
        stack.callback(_remove, path)
        listeners = Listeners(self._state_dir, master, token)
        stack.push_async_callback(listeners.close, CLOSE_GRACE_S)
        port = sock.getsockname()[1]
        await listeners.open(sock, local_sock)  # closes `sock` if the network setting is open
        address = f"http://{LOOPBACK}:{port}"
        info = MasterInfo(os.getpid(), address, port, str(path), mythjobs.__version__, master.store)
        write_master_info(self._state_dir, info)
        log.info(
            "mythjobs %s listens on %s with store %s",
            mythjobs.__version__,
            address,
            master.store,
            extra={"version": mythjobs.__version__, "address": address, "store": master.store},
        )
        stack.callback(_remove, self._state_dir.master_json)
        return address

    async def _stop_agent(self, master: Master, tasks: list[asyncio.Task[None]]) -> None:
        """Stop the agent while the listeners are open, so that its last messages arrive."""
        if self._agent is None:
            return
        await _cancel_tasks(tasks[1:])
        if self._stop_jobs:
            if not await self._agent.stop(stop_jobs=True):
                log.warning("the local agent did not stop its jobs in time; they continue")
            return
        running = await _count_running(master)
        await self._agent.stop(stop_jobs=False)
        if running:
            jobs = "1 job keeps" if running == 1 else f"{running} jobs keep"
            them = "it" if running == 1 else "them"
            text = f"{jobs} running; `mythjobs up` takes {them} over"
            print(text, file=sys.stderr, flush=True)


async def _count_running(master: Master) -> int:
    """Return the number of running jobs, 0 if the store fails or does not answer in time."""
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
    # An error here must not hide the one that ends the master: of a read-only disk, for example.
    # A killed master leaves its files, too.
    with suppress(OSError):
        path.unlink()
