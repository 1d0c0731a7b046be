"""Hours as placement asks them at an instant: levels, and how long these answers hold."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.model.weekly import FULL
from mythjobs.model.window import Hours, closes_ms, level_at, next_change, opens_ms


class Opening(NamedTuple):
    """Hours at an instant, true for every instant of [from_ms, until_ms).

    command, machine, both: how many jobs the command's, the machine's and their common set
    let run. opens_ms: when it is open, or will be; None if never. closes_ms: when it is shut.
    """

    from_ms: int
    until_ms: int | None
    command: int = FULL
    machine: int = FULL
    both: int = FULL
    opens_ms: int | None = None
    closes_ms: int | None = None

    @property
    def open(self) -> bool:
        return min(self.command, self.machine, self.both) > 0

    def holds(self, now_ms: int) -> bool:
        return self.from_ms <= now_ms and (self.until_ms is None or now_ms < self.until_ms)


def opening(hours: Hours, now_ms: int) -> Opening:
    """Raises ValueError for a zone that is not known here."""
    zone, overrides = hours.zone, hours.overrides
    command, machine, both = (level_at([each], zone, now_ms, overrides) for each in hours.sets)
    changes = [next_change([each], zone, now_ms, overrides) for each in hours.sets]
    return Opening(
        now_ms,
        min((each for each in changes if each is not None), default=None),
        command,
        machine,
        both,
        opens_ms(hours.sets, zone, now_ms, overrides),
        closes_ms(hours.sets, zone, now_ms, overrides),
    )
