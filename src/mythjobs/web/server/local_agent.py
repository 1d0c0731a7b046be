"""Local agent: the agent on the master's machine, run as a child process and restarted."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from mythjobs.config import locks
from mythjobs.config.state import StateDir
from mythjobs.errors import StateNotWritable
from mythjobs.web.server.child_process import RestartDelay, wait_readable

MAX_BACKOFF_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
STOP_WITH_JOBS_TIMEOUT_S: Final = 60.0

log = logging.getLogger(__name__)


class LocalAgent:
    """Runs the local agent, or attaches to one that an earlier `mythjobs up` left running."""

    def __init__(
        self,
        state_dir: StateDir,
        *,
        has_scaling: bool = True,
        file_limit: tuple[int, int] | None = None,
    ) -> None:
        """file_limit: RLIMIT_NOFILE of the agent and its jobs; None: that of this process."""
        self._file_limit = file_limit
        self._state_dir = state_dir
        self._options = () if has_scaling else ("--no-scaling",)
        self._pidfd = -1
        self._child: subprocess.Popen[bytes] | None = None

    async def keep_running(self) -> None:
        """Restart the agent whenever it exits, with exponential back-off. Never returns."""
        delay = RestartDelay(MAX_BACKOFF_S)
        while True:
            began = time.monotonic()
            what = "the local agent exited; restarting it in %g s"
            try:
                if not self._attach_to_running():
                    self.start()
                await self._wait_exit()
            except (OSError, StateNotWritable) as error:
                # A job may have used up this user's processes, or memory. The master must go on.
                log.error("cannot start the local agent: %s", error)
                what = "trying again to start the local agent in %g s"
            wait_s = delay.next_s(time.monotonic() - began)
            log.warning(what, wait_s)
            await asyncio.sleep(wait_s)

    async def stop(self, *, stop_jobs: bool) -> bool:
        """Stop the agent and wait for its exit. Return False if it still runs after a timeout.

        Jobs continue under the reaper; with `stop_jobs` the agent stops them first.
        """
        if self._pidfd < 0:
            return True
        with suppress(ProcessLookupError):
            number = signal.SIGUSR1 if stop_jobs else signal.SIGTERM
            signal.pidfd_send_signal(self._pidfd, number)
        try:
            async with asyncio.timeout(STOP_WITH_JOBS_TIMEOUT_S if stop_jobs else STOP_TIMEOUT_S):
                await self._wait_exit()
        except TimeoutError:
            return False
        return True

    def _attach_to_running(self) -> bool:
        path = self._state_dir.agent.lock
        if not self._is_lock_held():
            return False
        pid = locks.read_holder_pid(path)
        if pid in (None, os.getpid()):
            # The process that holds the lock has not written its pid yet.
            return False
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        # If the lock is still held, its holder has not exited, so its pid was not reused before
        # pidfd_open(), and the pidfd refers to the holder.
        if not self._is_lock_held():
            self._close_pidfd()
            return False
        log.info("the local agent is already running (pid %d)", pid, extra={"pid": pid})
        return True

    def _is_lock_held(self) -> bool:
        self._state_dir.agent.root.mkdir(mode=0o700, exist_ok=True)
        lock = locks.try_acquire(self._state_dir.agent.lock)
        if lock is None:
            return True
        lock.close()
        return False

    def start(self) -> None:
        """Start the agent as a child process. No agent of the state directory may run."""
        # -P: do not import modules from the current directory.
        command = [sys.executable, "-P", "-m", "mythjobs", "--state-dir", str(self._state_dir.root)]
        # In a new session the agent gets no signal for Ctrl-C or a closed terminal. It inherits
        # stderr for its log, but not stdout: a program that reads it may wait for end of file.
        # A SIGUSR1 of stop() must not end the agent before it handles this signal: its jobs would
        # continue. The agent inherits the blocked signal and unblocks it (Agent.run()).
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            self._child = subprocess.Popen(
                [*command, "agent", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pidfd = os.pidfd_open(self._child.pid)
        if self._file_limit is not None:
            # The agent reads its limit later than this: its interpreter starts first.
            with suppress(ProcessLookupError):
                resource.prlimit(self._child.pid, resource.RLIMIT_NOFILE, self._file_limit)

    async def _wait_exit(self) -> None:
        await wait_readable(self._pidfd)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._close_pidfd()

    def _close_pidfd(self) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
