"""Emptying the pipes that children write into. One buffer a loop, which reads one at a time."""

from __future__ import annotations

import fcntl
import os
from typing import Final, NamedTuple, Protocol

_SIZE: Final = 256 * 1024
# What a pipe holds if nobody asks for more (pipe(7)); one found full has a heavy writer.
_USUAL_PIPE: Final = 64 * 1024


class Sink(Protocol):
    """Takes what a child writes and never waits; `written` counts it, kept or not."""

    @property
    def written(self) -> int: ...

    def write(self, data: memoryview, /) -> None: ...

    def close(self) -> None: ...


class Stream(NamedTuple):
    """A pipe that the child writes into, and what is done with what comes out of it."""

    fd: int
    sink: Sink


class Drain:
    """A buffer of its own, because a process may have two loops (a fork has its own too)."""

    __slots__ = ("_buffer", "_into", "_view")

    def __init__(self) -> None:
        self._buffer = bytearray(_SIZE)
        self._view = memoryview(self._buffer)
        self._into = [self._buffer]

    def read_once(self, stream: Stream) -> bool:
        """Pass on what is there, up to one buffer, so that one child's flood leaves room for
        others. False at the end of file."""
        try:
            size = os.readv(stream.fd, self._into)
        except BlockingIOError:
            return True
        if not size:
            return False
        stream.sink.write(self._view[:size])
        if size == _USUAL_PIPE:
            _widen(stream.fd)
        return True

    def read_all(self, stream: Stream) -> bool:
        """Pass on all that is there. False if the end of file is still to come."""
        while True:
            try:
                size = os.readv(stream.fd, self._into)
            except BlockingIOError:
                return False
            if not size:
                return True
            stream.sink.write(self._view[:size])


def _widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _SIZE)
    except OSError:
        # An ordinary user may have so many of them and no more (pipe(7)).
        pass
