"""When an agent connects to its master again, and what it logs about its connections; pure."""

from __future__ import annotations

import random
from typing import Final

# The first _FAST_RETRIES attempts to connect follow each other at _FAST_RETRY_S, because `mythjobs
# up` starts master and agent together. Later the interval grows to _MAX_RETRY_S, so that attempts
# cost little while the master is down for hours.
_FAST_RETRIES: Final = 25
_FAST_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 5.0
_MAX_NETWORK_RETRY_S: Final = 30.0
# A connection that ends before is a failure, too: its master may close each one that is made.
STABLE_S: Final = 5.0
# Further short connections in a row are not logged.
_LOGGED_SHORT: Final = 3


class ConnectionHistory:
    """The failures since the last connection that lasted. Times are of any steady clock.

    failures: attempts that failed, and connections that were short.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._short = 0
        self._began_s: float | None = None
        # The cause that was logged last.
        self._logged = ""

    @property
    def logs_connection(self) -> bool:
        """Whether begin and end of the current connection are logged."""
        return self._short < _LOGGED_SHORT

    @property
    def was_last_logged(self) -> bool:
        """Whether the connection that has ended is the last short one that is logged."""
        return self._short == _LOGGED_SHORT

    def record_begin(self, now_s: float) -> None:
        self._began_s = now_s

    def record_stable(self) -> bool:
        """Forget the failures: the connection has lasted. Return whether its begin is yet to be
        logged."""
        was_logged = self.logs_connection
        self.failures, self._short, self._logged = 0, 0, ""
        return not was_logged

    def record_end(self, now_s: float, cause: str, *, is_violation: bool) -> bool:
        """Record a failed attempt, or the end of a connection; return whether to log its cause.

        is_violation: the master violated the protocol. It does so again, most likely, and not
        because it has just been started.
        """
        if self._began_s is not None:
            if now_s - self._began_s >= STABLE_S:
                self.record_stable()
            else:
                self._short += 1
            self._began_s = None
        if is_violation:
            self.failures = max(self.failures, _FAST_RETRIES)
        is_new = cause not in ("", self._logged)
        self._logged = cause or self._logged
        return is_new

    def take_delay_s(self, is_local: bool) -> float:
        """Return how long to wait before the next attempt to connect."""
        self.failures += 1
        return choose_retry_delay_s(self.failures - 1, is_local)


def choose_retry_delay_s(failures: int, is_local: bool) -> float:
    """Return how long to wait before connecting again. failures: since the last connection that
    lasted."""
    if not is_local:
        # Full jitter: the agents of a master that starts again must not all connect at once.
        return random.uniform(0.1, min(2.0 ** min(failures + 1, 10), _MAX_NETWORK_RETRY_S))
    if failures < _FAST_RETRIES:
        return _FAST_RETRY_S
    steps = min(failures - _FAST_RETRIES + 1, 20)
    return min(_FAST_RETRY_S * 1.5**steps, _MAX_RETRY_S) * random.uniform(0.7, 1.0)
