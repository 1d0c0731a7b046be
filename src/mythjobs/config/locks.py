"""Locks that die with their holder (flock), each in a file that is never deleted."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from mythjobs.errors import AlreadyRunning


class Lock:
    """A lock that is held until `close`, the end of a `with` block, or the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        if self._fd >= 0:
            # Explicitly: a child that another thread is just starting holds a copy of the
            # descriptor until its exec, and the lock would last as long.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def acquire(path: Path, program: str) -> Lock:
    """Hold the lock. `what` is the program it stands for ("a master"). Raises AlreadyRunning."""
    lock = try_acquire(path)
    if lock is None:
        pid = read_holder_pid(path)
        who = f"pid {pid}" if pid else "another process"
        raise AlreadyRunning(
            f"{program} runs already on the state directory {path.parent} ({who}); end it first, or "
            f"name another directory with --state-dir"
        )
    return lock


def try_acquire(path: Path) -> Lock | None:
    """The lock, or None while another process holds it."""
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
    """The pid that the last holder wrote; it says nothing about whether that one still lives."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None
