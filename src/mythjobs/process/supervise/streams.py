"""Pipes that children write into: where their bytes go, and a non-blocking reader."""

from __future__ import annotations

import fcntl
import os
from typing import Final, NamedTuple, Protocol

_BUFFER_BYTES: Final = 256 * 1024
# Default capacity of a pipe (pipe(7)); a pipe found full has a fast writer.
_DEFAULT_PIPE_BYTES: Final = 64 * 1024


class Sink(Protocol):
    """Destination of a child's output; its methods never block."""

    @property
    def written_bytes(self) -> int:
        """All bytes that the child wrote, kept or dropped."""
        ...

    def write(self, data: memoryview, /) -> None: ...

    def close(self) -> None: ...


class Stream(NamedTuple):
    """The read end of a pipe that the child writes into, and its destination."""

    fd: int
    sink: Sink


class StreamReader:
    """Reads pipes through one buffer. A process may have two event loops, each with a reader."""

    __slots__ = ("_buffer", "_buffers", "_view")

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._buffers = [self._buffer]

    def read_once(self, stream: Stream) -> bool:
        """Pass on up to one buffer of bytes; return False at end of file.

        The bound keeps one child with much output from starving others.
        """
        try:
            size = os.readv(stream.fd, self._buffers)
        except BlockingIOError:
            return True
        if not size:
            return False
        stream.sink.write(self._view[:size])
        if size == _DEFAULT_PIPE_BYTES:
            _enlarge_pipe(stream.fd)
        return True

    def read_all(self, stream: Stream) -> bool:
        """Pass on all available bytes; return True at end of file."""
        while True:
            try:
                size = os.readv(stream.fd, self._buffers)
            except BlockingIOError:
                return False
            if not size:
                return True
            stream.sink.write(self._view[:size])


def _enlarge_pipe(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _BUFFER_BYTES)
    except OSError:
        # The user has reached /proc/sys/fs/pipe-user-pages-soft (pipe(7)).
        pass
