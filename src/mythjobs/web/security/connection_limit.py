"""Limit of open connections: the store keeps file descriptors, however many clients connect."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from typing import Final

# Descriptors that connections leave to the store, output files and child processes, and to
# connections to the port that have not identified themselves (strangers.py).
_RESERVED: Final = 256
# A message about refused connections is logged once in this time.
_LOG_INTERVAL_S: Final = 60.0
log = logging.getLogger(__name__)


def raise_file_limit() -> tuple[int, int] | None:
    """Let this process open as many files as it may. Return its former limit, None if unchanged.

    Each `mythjobs run` has three connections, and the usual limit of 1024 files is that of programs
    which use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return None
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return soft, hard
    return None


class ConnectionLimit:
    """Counts the open connections of a listener, and refuses those that are too many.

    name: of the listener, for the log. share: of the descriptors that connections may have.
    Anybody on this machine can connect to the port, which must not take those of the Unix socket.
    """

    def __init__(self, name: str = "the socket", share: float = 1.0) -> None:
        self._name = name
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files = 2**31 if soft == resource.RLIM_INFINITY else soft
        reserved = min(_RESERVED, self._files // 2)
        self._most = int((self._files - reserved) * share)
        # Number of further connections whose requests are refused with a response.
        self._refused = int(reserved // 4 * share)
        self._open = 0
        self._logged_s = -_LOG_INTERVAL_S

    @property
    def sentence(self) -> str:
        """Message of the response that refuses a request."""
        count = f"the master has {self._open} connections to {self._name}"
        return f"{count}, the most that it serves there; try again"

    def open(self, now_s: float) -> None:
        """Count a new connection."""
        self._open += 1
        if self.is_exceeded() and now_s - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = now_s
            log.warning(
                "refusing requests: %d connections to %s are open, and this process may open %d "
                "files (ulimit -n)",
                self._open,
                self._name,
                self._files,
            )

    def close(self) -> None:
        self._open -= 1

    def is_exceeded(self) -> bool:
        """Return whether a request on the newest connection must be refused."""
        return self._open > self._most

    def is_far_exceeded(self) -> bool:
        """Return whether the newest connection must be closed at once, without a response."""
        return self._open > self._most + self._refused
