"""Check of attempts' input files before the start, in threads: a network disk may hang."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

from mythjobs.agent.core.attempt import Key

# A disk that does not answer for this long counts as one without the file.
_TIMEOUT_S: Final = 10.0
# Threads that wait for a disk cannot be ended. While so many wait, no file counts as visible.
_MAX_THREADS: Final = 32

log = logging.getLogger(__name__)


class InputChecker:
    """Checks the inputs of each attempt in a thread of its own."""

    def __init__(self, on_checked: Callable[[Key, str], None]) -> None:
        """on_checked: gets, in the event loop, the attempt and what find_missing() returned."""
        self._on_checked = on_checked
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._threads = 0

    def check(self, key: Key, paths: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        if self._threads >= _MAX_THREADS:
            loop.call_soon(self._on_checked, key, paths[0])
            return
        self._threads += 1
        self._waiting[key] = loop.call_later(_TIMEOUT_S, self._expire, key, paths[0])

        def run() -> None:
            missing = find_missing(paths)
            with suppress(RuntimeError):  # the agent has ended meanwhile
                loop.call_soon_threadsafe(self._finish, key, missing)

        # A daemon: the agent must be able to exit while a disk hangs.
        threading.Thread(target=run, name=f"inputs of job {key[0]}", daemon=True).start()

    def _finish(self, key: Key, missing: str) -> None:
        self._threads -= 1
        if (timer := self._waiting.pop(key, None)) is not None:
            timer.cancel()
            self._on_checked(key, missing)

    def _expire(self, key: Key, path: str) -> None:
        del self._waiting[key]
        log.warning("job %d is returned: no answer about %s in %g s", key[0], path, _TIMEOUT_S)
        self._on_checked(key, path)


def find_missing(paths: Sequence[str]) -> str:
    """Return the first directory or file on the way to one of the paths that this user cannot
    reach or read, as the mount point of a disk that is not mounted; "" if all can be read."""
    for path in paths:
        if not os.access(path, os.R_OK):
            ways = reversed(PurePosixPath(path).parents)
            return next((str(each) for each in ways if not os.path.exists(each)), path)
    return ""
