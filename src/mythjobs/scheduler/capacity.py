"""How much more a machine may run at once, by its ceiling; the one rule of master and agent."""

from __future__ import annotations

import math
from typing import Final

# The master leases ahead what a machine will, by learned durations, start within this time,
# so that a slot never waits for a round trip; no more than MOST_PREFETCH, and nothing long.
PREFETCH_S: Final = 0.2
MOST_PREFETCH: Final = 256


def room(jobs: int, running: int) -> int:
    """How many more attempts may run now. `jobs` is the ceiling, `running` what runs."""
    return max(jobs - running, 0)


def prefetch(jobs: int, typical_s: float | None) -> int:
    """How many unstarted attempts of a command a machine may hold beyond its room.

    typical_s: the learned duration of one; None while it is not learned.
    """
    if typical_s is None or typical_s > PREFETCH_S:
        return 0
    return min(math.ceil(jobs * PREFETCH_S / max(typical_s, 0.0005)), MOST_PREFETCH)
