"""Descriptors that a fork of this process must not keep, such as the ends of children's pipes.

A copy in a forked process would keep a reader from seeing the end of file. They are closed in
the fork before it runs any code of the host program.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import Protocol

# A descriptor is open exactly while it is registered: both change under this lock, and a fork
# takes it. Reentrant, because a signal handler may start a program or fork.
_lock = threading.RLock()
_registered: dict[int, weakref.ref[Owner] | None] = {}


class Owner(Protocol):
    """Object that uses a registered descriptor."""

    def forget(self) -> None:
        """In a fork: the descriptor was closed."""


def create_pipe() -> tuple[int, int]:
    """Return the read end and the write end of a new pipe. Raises OSError."""
    with _lock:
        ends = os.pipe2(os.O_CLOEXEC)
        for fd in ends:
            _registered[fd] = None
    return ends


def register(fd: int, owner: Owner | None = None) -> int:
    """Close `fd` in forks of this process, and tell `owner` there. Return `fd`."""
    with _lock:
        _registered[fd] = weakref.ref(owner) if owner is not None else None
    return fd


def close(fd: int) -> None:
    """Close a registered descriptor."""
    with _lock:
        _registered.pop(fd, None)
        os.close(fd)


def _close_in_fork() -> None:
    global _lock
    _lock = threading.RLock()
    for fd, reference in _registered.items():
        if owner := reference and reference():
            owner.forget()
        with suppress(OSError):
            os.close(fd)
    _registered.clear()


os.register_at_fork(
    before=lambda: _lock.acquire(),
    after_in_parent=lambda: _lock.release(),
    after_in_child=_close_in_fork,
)
