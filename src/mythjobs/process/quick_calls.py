"""System calls that never block, made without releasing the interpreter's lock (GIL).

The functions of `os` release it. If another thread waits for it, that thread runs first, which
takes longer than the call: five such releases cost a start of a program a tenth of its time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from typing import Final

# PyDLL keeps the lock, which CDLL would release.
_libc: Final = ctypes.PyDLL(None, use_errno=True)
_pair: Final = ctypes.c_int * 2
_STATUS_BYTES: Final = 1024
_UMASK: Final = b"\nUmask:\t"
# Descriptors below are the standard streams of this process, also while they are closed.
FIRST_FD: Final = 3


def create_pipe() -> tuple[int, int]:
    """Return the read end and the write end of a new pipe. Raises OSError."""
    ends = _pair()
    if _libc.pipe2(ends, os.O_CLOEXEC):
        raise _last_error()
    read_fd, write_fd = ends
    if min(read_fd, write_fd) >= FIRST_FD:
        return read_fd, write_fd
    return _move_pipe(read_fd, write_fd)


def _move_pipe(read_fd: int, write_fd: int) -> tuple[int, int]:
    try:
        read_fd = move_above_streams(read_fd)
    except OSError:
        os.close(write_fd)
        raise
    try:
        return read_fd, move_above_streams(write_fd)
    except OSError:
        os.close(read_fd)
        raise


def move_above_streams(fd: int) -> int:
    """Return `fd` or, if it is 0, 1 or 2, a copy with a higher number, and close `fd`. Raises
    OSError.

    A descriptor gets such a number if the host program has closed its standard streams. It would
    replace a stream that a program inherits, and the host program may open the stream again.
    """
    if fd >= FIRST_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD)
    finally:
        os.close(fd)


def set_nonblocking(fd: int) -> None:
    """Set O_NONBLOCK for a pipe, which has no other flags. Raises OSError."""
    if _libc.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK):
        raise _last_error()


def open_working_directory() -> int:
    """Return a descriptor (O_PATH) of the working directory. Raises OSError."""
    fd: int = _libc.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if fd < 0:
        raise _last_error()
    return move_above_streams(fd)


class UmaskReader:
    """Reads the umask of this process from /proc: umask(2) can read it only by changing it, which
    other threads would notice."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._fd = move_above_streams(os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC))
        self._buffer = ctypes.create_string_buffer(_STATUS_BYTES)

    def read(self) -> int:
        """Return the umask, or -1 on kernels before 4.7."""
        size = _libc.pread(self._fd, self._buffer, _STATUS_BYTES, ctypes.c_long(0))
        text = self._buffer.raw[: max(size, 0)]
        at = text.find(_UMASK)
        return int(text[at + len(_UMASK) :].split(None, 1)[0], 8) if at >= 0 else -1

    def close(self) -> None:
        os.close(self._fd)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
