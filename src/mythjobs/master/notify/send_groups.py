"""Groups of messages that are sent one after the other: those to a channel, and the calls of one
heartbeat URL. Pure.

A service that hangs takes 4 to 45 s for each message. Its group then rests, for longer each time,
and no other group waits for it.
"""

from __future__ import annotations

from typing import Final

# A failed try that took this long means that the service hangs: the messages after it would too.
# Apprise gives up after 4 s (HTTP) to 15 s (SMTP).
SLOW_S: Final = 2.0
_REST_S: Final = 30.0
_MAX_REST_S: Final = 600.0


class SendGroups:
    """Which groups are at work, and which rest. A group is named by its channel id. Times are
    seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._busy: set[int] = set()
        self._rests: dict[int, tuple[float, float]] = {}  # duration, end

    def begin(self, group: int) -> None:
        self._busy.add(group)

    def end(self, group: int) -> None:
        self._busy.discard(group)

    def record_try(self, group: int, *, failed: bool, took_s: float, now_s: float) -> bool:
        """Record the result of a try; return whether the group rests now."""
        if not failed or took_s < SLOW_S:
            self._rests.pop(group, None)
            return False
        last_s = self._rests[group][0] if group in self._rests else _REST_S / 2
        rest_s = min(2 * last_s, _MAX_REST_S)
        self._rests[group] = rest_s, now_s + rest_s
        return True

    def list_unavailable(self, now_s: float) -> list[int]:
        """Return the groups that send nothing now."""
        resting = {group for group, (_, end_s) in self._rests.items() if end_s > now_s}
        return sorted(self._busy | resting)

    def find_rest_s(self, now_s: float) -> float | None:
        """Return the time until the next rest ends, None if no group rests."""
        return min((end_s - now_s for _, end_s in self._rests.values() if end_s > now_s),
                   default=None)  # fmt: skip
