"""Check of attempts' paths before the start, in threads: a network disk may hang."""

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
from mythjobs.model.path_map import is_below

# A disk that does not answer for this long counts as one without the file.
_TIMEOUT_S: Final = 10.0
# Threads that wait for a disk cannot be ended. While this many wait, no file counts as visible.
_MAX_THREADS: Final = 32

log = logging.getLogger(__name__)


class InputChecker:
    """Checks the inputs of each attempt in a thread of its own."""

    def __init__(
        self, on_checked: Callable[[Key, str, str], None], roots: Sequence[str] = ()
    ) -> None:
        """on_checked: gets, in the event loop, the attempt, and what find_missing() and
        find_outside() returned. roots: below which all paths must be."""
        self._roots = roots
        self._on_checked = on_checked
        self._waiting: dict[Key, asyncio.TimerHandle] = {}
        self._threads = 0

    def check(self, key: Key, inputs: Sequence[str], paths: Sequence[str] = ()) -> None:
        loop = asyncio.get_running_loop()
        first = (*inputs, *paths)[0]

        def run() -> None:
            outside = find_outside(paths, self._roots)
            missing = "" if outside else find_missing(inputs)
            with suppress(RuntimeError):  # the agent has ended meanwhile
                loop.call_soon_threadsafe(self._finish, key, missing, outside)

        # A daemon: the agent must be able to exit while a disk hangs.
        thread = threading.Thread(target=run, name=f"inputs of job {key[0]}", daemon=True)
        try:
            if self._threads >= _MAX_THREADS:
                raise RuntimeError(f"{self._threads} other checks have no answer yet")
            thread.start()
        except RuntimeError as error:
            log.warning("cannot look for the files of job %d: %s; it is returned", key[0], error)
            loop.call_soon(self._on_checked, key, first, "")
            return
        self._threads += 1
        self._waiting[key] = loop.call_later(_TIMEOUT_S, self._expire, key, first)

    def _finish(self, key: Key, missing: str, outside: str) -> None:
        self._threads -= 1
        if (timer := self._waiting.pop(key, None)) is not None:
            timer.cancel()
            self._on_checked(key, missing, outside)

    def _expire(self, key: Key, path: str) -> None:
        del self._waiting[key]
        log.warning(
            "job %d is returned: no answer about %s in %g s",
            key[0],
            path,
            _TIMEOUT_S,
            extra={"job": key[0]},
        )
        self._on_checked(key, path, "")


def find_missing(paths: Sequence[str]) -> str:
    """Return the first directory or file on the way to one of the paths that this user cannot
    reach or read, as the mount point of a disk that is not mounted; "" if all can be read."""
    for path in paths:
        if not os.access(path, os.R_OK):
            ways = reversed(PurePosixPath(path).parents)
            return next((str(each) for each in ways if not os.path.exists(each)), path)
    return ""


def find_outside(paths: Sequence[str], roots: Sequence[str]) -> str:
    """Return the first path that is not below one of the roots once symbolic links are resolved;
    "" if all are. A path that does not exist is resolved as far as it does. A relative path, which
    only a faulty master sends, is outside: the program's directory is not the agent's."""
    real_roots = [os.path.realpath(each) for each in roots]
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            return path or "."
        here = os.path.realpath(path)
        if not any(is_below(here, root) for root in real_roots):
            return path
    return ""
