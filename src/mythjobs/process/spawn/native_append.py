"""Appender in C (appender.c): its thread writes and syncs the reaper's journal without the
interpreter's lock.

A thread in Python needs the lock before and after each system call, and the event loop needs it
too: the two waited for each other, which cost 16 µs of CPU time per short job with 8 in flight.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from mythjobs.process.event_loop import READ, EventLoop
from mythjobs.process.spawn.native import LIBRARY, check_layout

# Layout of struct append in appender.c.
_APPEND: Final = struct.Struct("=6i")


class AppendResult(NamedTuple):
    """`written_bytes` is the number of bytes in the file. `error` is the errno of the write or the
    sync that failed, else 0."""

    written_bytes: int
    error: int


class NativeAppender:
    """Appends to files in a native thread, one append at a time."""

    def __init__(self, loop: EventLoop, on_done: Callable[[], None]) -> None:
        """`on_done` is called in the event loop's thread after each append. Raises OSError if the
        library is missing or of another version, or if threads or descriptors are lacking."""
        # PyDLL keeps the interpreter's lock, CDLL releases it: only wait() blocks.
        library, blocking = ctypes.PyDLL(LIBRARY), ctypes.CDLL(LIBRARY)
        check_layout(library, "appender_sizes", (_APPEND.size,))
        start, self._submit = library.appender_start, library.appender_submit
        start.restype = ctypes.c_void_p
        self._submit.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._submit.restype = None
        self._wait = blocking.appender_wait
        self._wait.argtypes = (ctypes.c_void_p,)
        self._wait.restype = None
        self._data = bytearray()
        self._pin: ctypes.c_char | None = None
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._appender = start(fd)
        if not self._appender:
            os.close(fd)
            raise OSError(errno.EAGAIN, "thread of the appender")
        # Edge-triggered, so that the counter need not be read.
        loop.watch(fd, on_done, READ | select.EPOLLET)

    def submit(self, fd: int, data: bytes, *, wants_sync: bool) -> None:
        """Append `data` to a file, and sync the file. No other append may be in progress."""
        self._data = bytearray(_APPEND.pack(fd, len(data), wants_sync, 0, 0, 0)) + data
        self._pin = ctypes.c_char.from_buffer(self._data)
        self._submit(self._appender, ctypes.addressof(self._pin))

    @property
    def is_done(self) -> bool:
        """True if the last append has ended."""
        return bool(_APPEND.unpack_from(self._data)[-1])

    def wait(self) -> AppendResult:
        """Wait for the end of the last append and return its result. Thread-safe."""
        self._wait(self._appender)
        *_, written, error, _ = _APPEND.unpack_from(self._data)
        return AppendResult(written, error)
