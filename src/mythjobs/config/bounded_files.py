"""Reads of whole files with a bound on their size: a path may name a device, a pipe without end, or
the wrong file.

What is refused is an OSError, with a `strerror` like those of the system: `cannot read PATH: …`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Final

from mythjobs.model.units import format_size

# Bound of definitions, settings and other texts that people write. The master refuses requests
# that are larger than this.
MAX_TEXT_BYTES: Final = 4 * 2**20
# Bound of the files that programs of the system write, like crontabs and lists of users.
MAX_SYSTEM_FILE_BYTES: Final = 16 * 2**20
STDIN: Final = "-"


def read_input(path: str | Path, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a file that a user has named, or of stdin for `-`.

    Pipes and devices are read up to the bound. Raises OSError.
    """
    if path == STDIN:
        return read_stream(sys.stdin.buffer, most_bytes)
    try:
        with open(path, "rb") as file:
            return read_stream(file, most_bytes)
    except OSError as error:
        raise _explain_socket(error, path) from None


def read_file(path: str | Path, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a regular file; a pipe is refused without waiting. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise _explain_socket(error, path) from None
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return read_stream(file, most_bytes)


def read_stream(file: BinaryIO, most_bytes: int) -> bytes:
    """Return what is left of a binary stream. Raises OSError if that is more than `most_bytes`."""
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        size = format_size(most_bytes)
        raise OSError(errno.EFBIG, f"has more than {size}, the largest size read")
    return data


def _explain_socket(error: OSError, path: str | Path) -> OSError:
    # open(2) answers "No such device or address" for a socket.
    if error.errno == errno.ENXIO and os.path.exists(path):
        return OSError(errno.ENXIO, "is a socket or a device without a driver", str(path))
    return error
