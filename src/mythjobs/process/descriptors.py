"""Descriptors that a fork of this process must not keep, such as the ends of children's pipes.

A copy of a pipe's write end in a forked process keeps the reader from seeing the end of file. So
a fork closes these descriptors before it runs any code of the host program.
"""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from threading import get_ident
from typing import Final, Protocol

from mythjobs.process import quick_calls

# Longest time that a fork waits for other threads that are opening or closing a descriptor, which
# takes microseconds. It takes longer only if a signal handler has interrupted such a thread.
_FORK_WAIT_S: Final = 0.5
_PAUSE_S: Final = 0.0001

_registered: dict[int, weakref.ref[Owner] | None] = {}


class Owner(Protocol):
    """Object that uses a registered descriptor."""

    def forget(self) -> None:
        """Called in a forked process, which then closes its copy of the descriptor."""


class _Changes:
    """Context manager for changes: a thread opens and registers, or closes, descriptors inside it.
    A fork first waits until no other thread is inside.

    A lock cannot be used: a signal handler may interrupt a thread inside, and wait for a program
    that another thread must start. Without a lock the counts stay correct, because setting an item
    of a dict is atomic.
    """

    def __init__(self) -> None:
        # By thread: number of nested changes that the thread is in.
        self._depths: dict[int, int] = {}
        self._forking_thread = 0

    def __enter__(self) -> None:
        thread = get_ident()
        self._depths[thread] = self._depths.get(thread, 0) + 1
        while self._forking_thread not in (0, thread) and self._depths[thread] == 1:
            self._depths[thread] = 0
            time.sleep(_PAUSE_S)
            self._depths[thread] = 1

    def __exit__(self, *error: object) -> None:
        thread = get_ident()
        depth = self._depths[thread] - 1
        if depth:
            self._depths[thread] = depth
        else:
            del self._depths[thread]

    def begin_fork(self) -> None:
        thread = self._forking_thread = get_ident()
        until_s = time.monotonic() + _FORK_WAIT_S
        while any(depth for each, depth in list(self._depths.items()) if each != thread):
            if time.monotonic() > until_s:
                break
            time.sleep(_PAUSE_S)

    def end_fork(self) -> None:
        self._forking_thread = 0

    def end_fork_in_child(self) -> None:
        """Forget the changes of other threads, which do not exist in the forked process."""
        self._forking_thread = 0
        own = self._depths.get(get_ident())
        self._depths = {get_ident(): own} if own else {}


_changes: Final = _Changes()


def create_pipe() -> tuple[int, int]:
    """Return the read end and the write end of a new pipe. Raises OSError."""
    with _changes:
        ends = quick_calls.create_pipe()
        for fd in ends:
            _registered[fd] = None
    return ends


def register(fd: int, owner: Owner | None = None) -> int:
    """Have forks of this process call `owner.forget()` and close `fd`. Return `fd`."""
    _registered[fd] = weakref.ref(owner) if owner is not None else None
    return fd


def close(fd: int) -> None:
    """Close a registered descriptor."""
    with _changes:
        _registered.pop(fd, None)
        os.close(fd)


def _close_in_fork() -> None:
    _changes.end_fork_in_child()
    for fd, reference in _registered.items():
        if owner := reference and reference():
            owner.forget()
        with suppress(OSError):
            os.close(fd)
    _registered.clear()


os.register_at_fork(
    before=_changes.begin_fork,
    after_in_parent=_changes.end_fork,
    after_in_child=_close_in_fork,
)
