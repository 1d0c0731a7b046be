"""Emptying the pipes that jobs write into. One buffer for all: the loop reads one at a time."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from mythjobs.process.attempt import Stream

__all__ = ["Stream", "read_all", "read_once"]

_BUFFER: Final = bytearray(256 * 1024)
_VIEW: Final = memoryview(_BUFFER)
# What a pipe holds if nobody asks for more (pipe(7)); one found full has a heavy writer.
_USUAL_PIPE: Final = 64 * 1024


def read_once(stream: Stream) -> bool:
    """Keep what is there, up to one buffer, so that one job's flood leaves room for others.
    False at the end of file."""
    try:
        size = os.readv(stream.fd, [_BUFFER])
    except BlockingIOError:
        return True
    if not size:
        return False
    stream.spool.write(_VIEW[:size])
    if size == _USUAL_PIPE:
        _widen(stream.fd)
    return True


def read_all(stream: Stream) -> bool:
    """Keep all that is there. False if the end of file is still to come."""
    while True:
        try:
            size = os.readv(stream.fd, [_BUFFER])
        except BlockingIOError:
            return False
        if not size:
            return True
        stream.spool.write(_VIEW[:size])


def _widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, len(_BUFFER))
    except OSError:
        # An ordinary user may have so many of them and no more (pipe(7)).
        pass
