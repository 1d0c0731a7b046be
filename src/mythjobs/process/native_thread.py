"""Thread class whose start() raises an error if memory is short; threading.Thread.start() would
block for ever.

threading.Thread.start() waits until the new thread has run its first Python code. A new thread that
has no memory for its first frame dies before that.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Final

# Time after which a thread that has not begun counts as failed. A thread normally begins within
# milliseconds, even on a busy machine.
_BEGIN_TIMEOUT_S: Final = 5.0


class NativeThread:
    """Thread for which the interpreter does not wait at its exit. `target` must not raise."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._has_begun = threading.Lock()
        self._has_ended = threading.Lock()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the machine lacks threads or memory; `target`
        then never runs."""
        self._has_begun.acquire()
        self._has_ended.acquire()
        _thread.start_new_thread(self._run, ())
        if self._has_begun.acquire(timeout=_BEGIN_TIMEOUT_S):
            return
        with self._lock:
            self._is_abandoned = not self._has_begun.acquire(blocking=False)
        if self._is_abandoned:
            raise RuntimeError("can't start new thread: no memory")

    def _run(self) -> None:
        with self._lock:
            if self._is_abandoned:
                return
            self._has_begun.release()
        try:
            self._target()
        finally:
            self._has_ended.release()

    def join(self) -> None:
        self._has_ended.acquire()
        self._has_ended.release()
