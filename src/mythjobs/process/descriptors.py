"""Registry of file descriptors that a fork of this process must not keep, such as pipe ends.

A copy of a pipe's write end in a forked process keeps the reader from seeing end of file. So the
forked child closes all registered descriptors before it runs any code of the host program.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import Protocol

# Lock held while a descriptor is opened and registered, or closed and unregistered, and during
# fork(2): so a forked child never sees one without the other. Reentrant, because a signal handler
# may start a program or fork while its thread holds the lock.
_lock = threading.RLock()
_registered: dict[int, weakref.ref[Owner] | None] = {}


class Owner(Protocol):
    """Object that uses a registered descriptor, and is told when a forked child closes it."""

    def forget(self) -> None:
        """Called in a forked child that closes the descriptor: do not use it any more."""


def create_pipe() -> tuple[int, int]:
    """Create a pipe, register both ends, and return (read end, write end). Raises OSError."""
    with _lock:
        ends = os.pipe2(os.O_CLOEXEC)
        for fd in ends:
            _registered[fd] = None
    return ends


def register(fd: int, owner: Owner | None = None) -> int:
    """Register `fd`, to be closed in every forked child, which then calls `owner.forget()`. Return
    `fd`."""
    with _lock:
        _registered[fd] = weakref.ref(owner) if owner is not None else None
    return fd


def close(fd: int) -> None:
    """Close a registered descriptor and remove it from the registry."""
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
