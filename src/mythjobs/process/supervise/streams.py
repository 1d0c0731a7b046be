"""Output pipes of children: a non-blocking reader, and the interface of the bytes' destination."""

from __future__ import annotations

import fcntl
import os
from typing import Final, NamedTuple, Protocol

_BUFFER_BYTES: Final = 256 * 1024
# Default capacity of a pipe (pipe(7)). A pipe with this many bytes in it is full and gets enlarged.
_DEFAULT_PIPE_BYTES: Final = 64 * 1024


class Sink(Protocol):
    """Destination of the bytes of one output pipe. Its methods never block for long."""

    @property
    def written_bytes(self) -> int:
        """Number of bytes that the child has written, whether they were kept or dropped."""
        ...

    def write(self, data: memoryview, /) -> None: ...

    def close(self) -> None: ...


class Stream(NamedTuple):
    """The read end of a pipe that the child writes into, and the destination of the bytes."""

    fd: int
    sink: Sink


class StreamReader:
    """Reads pipes through one buffer. Two event loops of a process must not share a reader."""

    __slots__ = ("_buffer", "_buffers", "_view")

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._buffers = [self._buffer]

    def read_once(self, stream: Stream) -> bool:
        """Read once from a pipe and pass the bytes on. Return False at end of file.

        It reads at most one buffer of bytes, so that a child with much output does not delay
        others.
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
        """Read all available bytes from a pipe and pass them on. Return True at end of file."""
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
        # Leave the pipe at its present capacity: the pipes of this user have reached the limit
        # /proc/sys/fs/pipe-user-pages-soft (pipe(7)).
        pass
