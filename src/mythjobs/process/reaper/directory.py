"""Files of a reaper's directory: its lock, and the choice of its socket's path.

Separate from launch.py, whose imports would stay in the memory of each reaper.
"""

from __future__ import annotations

import fcntl
import os
from typing import Final

# Limit of a Unix socket's path: sun_path (unix(7)) has 108 bytes, including a NUL.
_MAX_SOCKET_PATH_BYTES: Final = 107


def choose_socket_path(directory: str, runtime: str) -> str:
    """Return the path for a reaper's new socket: in its `directory`, or in the directory `runtime`
    if the former path is too long for a Unix socket. Raises OSError if both are."""
    path = os.path.join(directory, "socket")
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    path = os.path.join(runtime, f"{os.path.basename(directory)}.socket")
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise OSError(f"socket path is too long: {path}")
    return path


def try_lock(directory: str | os.PathLike[str]) -> int | None:
    """Return a descriptor that holds the lock of the reaper in `directory`, or None if the reaper
    runs, as it holds the lock then.

    Whoever holds the lock may read the journal, kill leftover processes and remove the directory.
    Closing the descriptor releases the lock. Raises OSError if the directory is missing.
    """
    fd = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
