"""Files opened as a child's standard input and output."""

from __future__ import annotations

import os
from functools import lru_cache

from mythjobs.process.quick_calls import move_above_streams
from mythjobs.process.spawn.errors import CannotStart, escape_undecodable, setup_error


def open_input(path: str) -> int:
    """Open a file for reading. Raises CannotStart."""
    try:
        # O_NONBLOCK, because opening a FIFO that has no writer blocks without it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        fd = move_above_streams(os.open(path, flags))
        os.set_blocking(fd, True)
    except OSError as error:
        raise setup_error(error, f"input file {escape_undecodable(path)}") from None
    except ValueError:
        raise CannotStart(0, "input file: its name contains a NUL byte") from None
    return fd


@lru_cache(maxsize=1)
def dev_null(pid: int) -> int:
    """Return a shared descriptor of /dev/null, which callers must not close. `pid` is that of this
    process, so that a fork opens its own."""
    return move_above_streams(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))


def open_output(path: str) -> int:
    """Open a file for appending, and create it if it does not exist. Raises CannotStart."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    try:
        # O_NONBLOCK, so that opening a FIFO that has no reader fails (ENXIO) instead of blocking.
        fd = move_above_streams(os.open(path, flags | os.O_NONBLOCK, 0o666))
        os.set_blocking(fd, True)
    except OSError as error:
        raise setup_error(error, f"output file {escape_undecodable(path)}") from None
    return fd
