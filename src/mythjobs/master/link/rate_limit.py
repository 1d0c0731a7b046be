"""Rate limit of the connections of each machine; pure."""

from __future__ import annotations

from typing import Final

# So many connections of a machine are served at once, then one in each interval: an agent that
# violates the protocol, or two with one key, would fill the log, and keep the master busy.
_BURST: Final = 30
_INTERVAL_S: Final = 5.0
# Longest wait for a connection: the agent waits ten seconds for the end of the handshake.
_MAX_WAIT_S: Final = 5.0
_MAX_KEYS: Final = 1000


class ConnectionRateLimit:
    def __init__(self) -> None:
        # By machine key: when the machine may connect _BURST times again.
        self._full_s: dict[str, float] = {}

    def take(self, key: str, now_s: float) -> float | None:
        """Record a connection of the machine with this key. Return the seconds that it has to wait,
        or None if it is to be refused. now_s: of any steady clock."""
        full_s = max(self._full_s.pop(key, now_s), now_s) + _INTERVAL_S
        wait_s = max(0.0, full_s - now_s - _BURST * _INTERVAL_S)
        if wait_s > _MAX_WAIT_S:
            self._full_s[key] = full_s - _INTERVAL_S
            return None
        self._full_s[key] = full_s
        if len(self._full_s) > _MAX_KEYS:
            del self._full_s[next(iter(self._full_s))]
        return wait_s
