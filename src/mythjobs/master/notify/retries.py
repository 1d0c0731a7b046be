"""When to try again to send a message. Pure."""

from __future__ import annotations

from typing import Final

from mythjobs.store.writes.channels import is_heartbeat

# In all 22 hours.
_SECONDS: Final = (30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
# Calls of heartbeat URLs are late soon: the service measures the time between start and end.
_HEARTBEAT_SECONDS: Final = (10, 30, 60, 300, 900)
_START_SECONDS: Final = (10, 30)
HEARTBEAT_MAX_AGE_MS: Final = 3_600_000
# Failed tries in a row after which a channel counts as failing, and is reported.
FAILING_AFTER: Final = 3


def find_next_try_ms(
    channel_id: int, topic: str, *, tries: int, created_ms: int, now_ms: int
) -> int | None:
    """Return the time of the next try after `tries` failed ones; None: give up.

    The age of a message to a channel does not matter: after a weekend on which the machine was off,
    the first try may come before its network is up.
    """
    delays: tuple[int, ...] = _SECONDS
    if is_heartbeat(channel_id):
        delays = _START_SECONDS if topic.endswith(" start") else _HEARTBEAT_SECONDS
        if now_ms - created_ms > HEARTBEAT_MAX_AGE_MS:
            return None
    return None if tries > len(delays) else now_ms + 1000 * delays[tries - 1]
