"""Lock files with flock(2), released at the end of the process; the files are never deleted."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mythjobs.config.os_errors import explain_os_error
from mythjobs.errors import AlreadyRunning


class Lock:
    """A lock held until `close`, the end of a `with` block, or the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        if self._fd >= 0:
            # Unlock explicitly: if another thread is starting a child, the child has a copy of
            # the descriptor until its exec, which keeps the lock held.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def acquire(path: Path, program: str) -> Lock:
    """Lock the file. Raises AlreadyRunning, which names `program`, if another process holds it, and
    StateNotWritable."""
    lock = try_acquire(path)
    if lock is None:
        pid = read_holder_pid(path)
        holder = f"pid {pid}" if pid else "another process"
        raise AlreadyRunning(
            f"{program} is already running on the state directory {path.parent} ({holder}); end it "
            "first, or name another directory with --state-dir"
        )
    return lock


def try_acquire(path: Path) -> Lock | None:
    """Return the lock, or None if another process holds it. Raises StateNotWritable."""
    try:
        return _try_acquire(path)
    except OSError as error:
        raise explain_os_error(error, path) from error


def _try_acquire(path: Path) -> Lock | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return Lock(fd)


def read_holder_pid(path: Path) -> int | None:
    """Return the pid that the last holder of the lock wrote; that process may have ended."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None
