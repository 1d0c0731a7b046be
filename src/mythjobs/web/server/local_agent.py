"""The agent of the master's own machine: a child that is kept running, or one that runs already."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from mythjobs.config import locks
from mythjobs.config.state import StateDir

# One that lived this long was well: the next start is at once again.
STABLE_S: Final = 60.0
MIN_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
STOP_WITH_JOBS_TIMEOUT_S: Final = 60.0

log = logging.getLogger(__name__)


class LocalAgent:
    """`adopted` is an agent that an earlier `up` started; the lock of its directory is held."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._pidfd = -1
        self._child: subprocess.Popen[bytes] | None = None

    async def keep_running(self) -> None:
        """Have one running, for ever: at once when it dies, then with more and more patience."""
        wait_s = 0.0
        while True:
            began = time.monotonic()
            if not self._attach_to_running():
                self._start()
            await self._wait_exit()
            if time.monotonic() - began >= STABLE_S:
                wait_s = 0.0
            log.warning("the agent of this machine is gone; another starts in %g s", wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(max(2 * wait_s, MIN_BACKOFF_S), MAX_BACKOFF_S)

    async def stop(self, *, stop_jobs: bool) -> bool:
        """Tell it to end, and wait for that. False if it is still there after its time.

        Its jobs go on, kept by the reaper; with `stop_jobs` it ends them before it goes.
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
        path = self._state.agent.lock
        if not self._is_lock_held():
            return False
        pid = locks.holder(path)
        if pid in (None, os.getpid()):
            # It has the lock, and has not said yet who it is.
            return False
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        # If it is still held, it was the holder that was opened and not a later owner of its pid.
        if not self._is_lock_held():
            self._close_pidfd()
            return False
        log.info("the agent of this machine runs already (pid %d)", pid)
        return True

    def _is_lock_held(self) -> bool:
        self._state.agent.root.mkdir(mode=0o700, exist_ok=True)
        lock = locks.try_hold(self._state.agent.lock)
        if lock is None:
            return True
        lock.close()
        return False

    def _start(self) -> None:
        # -P: the directory where `up` is called must not lend the agent its modules.
        words = [sys.executable, "-P", "-m", "mythjobs", "--state-dir", str(self._state.root)]
        # A session of its own: Ctrl-C and the end of the terminal are for the master alone.
        # Its log goes where ours goes. What we print is read by somebody, perhaps to its end.
        self._child = subprocess.Popen(
            [*words, "agent"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._child.pid)

    async def _wait_exit(self) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._pidfd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._pidfd)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._close_pidfd()

    def _close_pidfd(self) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
