"""Bridge to MythTV: a child process of the master while a MythTV backend is configured."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from mythjobs.config.state import StateDir
from mythjobs.web.server.child_process import RestartDelay, wait_readable

CONFIGURED_CHECK_S: Final = 5.0
MAX_BACKOFF_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0

log = logging.getLogger(__name__)


class BridgeProcess:
    """Runs `mythjobs mythtv bridge` once a backend is configured, and again whenever it exits."""

    def __init__(self, state_dir: StateDir) -> None:
        self._state_dir = state_dir

    async def keep_running(self) -> None:
        """Never returns; a cancellation ends the bridge."""
        delay = RestartDelay(MAX_BACKOFF_S)
        while True:
            if not self._state_dir.mythtv_settings.exists():
                # `mythjobs mythtv setup` may come later.
                await asyncio.sleep(CONFIGURED_CHECK_S)
                continue
            began = time.monotonic()
            try:
                result = f"exited (code {await self._run_once()})"
            except OSError as error:  # no process, memory or descriptor is left
                result = f"cannot start: {error}"
            wait_s = delay.next_s(time.monotonic() - began)
            log.warning("the bridge to MythTV %s; restarting it in %g s", result, wait_s)
            await asyncio.sleep(wait_s)

    async def _run_once(self) -> int:
        child = self._start()
        assert child.stdin is not None
        pidfd = os.pidfd_open(child.pid)
        try:
            await wait_readable(pidfd)
        except asyncio.CancelledError:
            child.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await wait_readable(pidfd)
            child.kill()
            raise
        finally:
            os.close(pidfd)
            child.stdin.close()
            code = child.wait()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: do not import modules from the current directory. The bridge ends at the end of its
        # stdin, so it does not outlive a master that is killed.
        command = [sys.executable, "-P", "-m", "mythjobs", "--state-dir", str(self._state_dir.root)]
        return subprocess.Popen(
            [*command, "mythtv", "bridge", "--end-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
