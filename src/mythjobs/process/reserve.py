"""Reserve descriptor: lets this process open files of /proc and cgroups when no descriptor is free.

Without the reserve, a process at its limit of open files can neither find nor end the processes of
its children.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from mythjobs.process.quick_calls import move_above_streams

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC

T = TypeVar("T")
# Lock held while the reserve descriptor is in use.
_lock = threading.RLock()
_reserve_fd = -1


def is_shortage(error: OSError) -> bool:
    """Return whether the error is a lack of descriptors, memory or processes, which may pass."""
    return error.errno in (*_EXHAUSTED, errno.ENOMEM, errno.EAGAIN)


def hold_reserve() -> None:
    """Open the reserve descriptor, unless it is open already. Raises OSError."""
    global _reserve_fd
    if _reserve_fd >= 0:
        return  # the usual case; while the reserve is in use, it is -1
    with _lock:
        if _reserve_fd < 0:
            _reserve_fd = move_above_streams(os.open(os.devnull, _FLAGS))


def use_file(path: str, flags: int, function: Callable[[int], T]) -> T:
    """Open a file, call `function` with its descriptor, and close it. If no descriptor is free, use
    the reserve. Raises OSError."""

    def use() -> T:
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            return function(fd)
        finally:
            os.close(fd)

    return use_reserve(use)


def use_reserve(function: Callable[[], T]) -> T:
    """Call `function`, which opens one descriptor and closes it. If none is free, call it again
    with the reserve. Raises OSError."""
    global _reserve_fd
    try:
        return function()
    except OSError as error:
        if error.errno not in _EXHAUSTED:
            raise
        shortage = error
    with _lock:
        if _reserve_fd < 0:
            raise shortage
        fd, _reserve_fd = _reserve_fd, -1
        os.close(fd)
        try:
            # This fails if another thread has taken the descriptor that was just closed.
            return function()
        finally:
            with suppress(OSError):
                hold_reserve()


def _close_in_fork() -> None:
    """Close the reserve in a forked child, which may close all descriptors that it does not know,
    as daemons do, and open files of its own under the same numbers."""
    global _lock, _reserve_fd
    _lock = threading.RLock()
    fd, _reserve_fd = _reserve_fd, -1
    if fd >= 0:
        os.close(fd)


os.register_at_fork(after_in_child=_close_in_fork)
