"""Opening the files that a child is given as its input and output."""

from __future__ import annotations

import os
from functools import lru_cache

from mythjobs.process.spawn import errors
from mythjobs.process.spawn.errors import CannotStart


def open_input(path: str) -> int:
    """To be read from its beginning. Raises CannotStart."""
    try:
        # Opening a FIFO that nobody writes into would wait for a writer, for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        os.set_blocking(fd, True)
    except OSError as error:
        raise errors.at_preparing(error, f"its input {errors.printable(path)}") from None
    except ValueError:
        raise CannotStart(0, "the name of its input has a NUL byte in it") from None
    return fd


@lru_cache(maxsize=1)
def null(pid: int) -> int:
    """A descriptor of /dev/null for this process, not to be closed."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def open_output(path: str) -> int:
    """To be written at its end; made if it is not there. Raises CannotStart."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    try:
        # A FIFO that nobody reads is refused (ENXIO) instead of waiting for a reader.
        fd = os.open(path, flags | os.O_NONBLOCK, 0o666)
        os.set_blocking(fd, True)
    except OSError as error:
        raise errors.at_preparing(error, f"its output {errors.printable(path)}") from None
    return fd


def input_of(data: bytes) -> int:
    """A file without a name that holds these bytes, to be read from its beginning: a child
    may take as much of it as it likes, and nobody has to wait for it. Raises OSError."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        # A description of its own, that can only be read.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
