"""Where a reaper's socket is, and whether it lives. For both sides of it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

# sun_path of unix(7), with its NUL.
_LONGEST: Final = 107


def choose(directory: str, runtime: str) -> str:
    """The path for a new socket: in its directory, or where the path is shorter."""
    path = os.path.join(directory, "socket")
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    path = os.path.join(runtime, f"{os.path.basename(directory)}.socket")
    if len(os.fsencode(path)) > _LONGEST:
        raise OSError(f"the path of its socket is too long: {path}")
    return path


def socket_path(directory: Path) -> Path:
    """Where the reaper of this directory listens."""
    try:
        return Path((directory / "address").read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return directory / "socket"


def take_lock(directory: Path) -> int | None:
    """A descriptor that holds the reaper's lock, or None while the reaper lives.

    Who has the lock may read the journal, end what is left and remove the directory; to
    close the descriptor gives it back. Raises OSError if there is no such directory.
    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
