"""Hours as placement asks them at an instant: levels, and how long these answers hold."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.model.weekly import FULL
from mythjobs.model.window import Hours, level_at, next_change_ms, next_close_ms, next_open_ms


class WindowState(NamedTuple):
    """Hours at an instant, true for every instant of [from_ms, until_ms).

    command, machine, both: how many jobs the command's, the machine's and their common set
    let run. opens_ms: when it is open, or will be; None if never. closes_ms: when it is shut.
    """

    from_ms: int
    until_ms: int | None
    command_level: int = FULL
    machine_level: int = FULL
    shared_level: int = FULL
    opens_ms: int | None = None
    closes_ms: int | None = None

    @property
    def is_open(self) -> bool:
        return min(self.command_level, self.machine_level, self.shared_level) > 0

    def is_valid_at(self, now_ms: int) -> bool:
        return self.from_ms <= now_ms and (self.until_ms is None or now_ms < self.until_ms)


def compute_window_state(hours: Hours, now_ms: int) -> WindowState:
    """Raises ValueError for a zone that is not known here."""
    zone, overrides = hours.zone, hours.overrides
    command, machine, both = (level_at([each], zone, now_ms, overrides) for each in hours.sets)
    changes = [next_change_ms([each], zone, now_ms, overrides) for each in hours.sets]
    return WindowState(
        now_ms,
        min((each for each in changes if each is not None), default=None),
        command,
        machine,
        both,
        next_open_ms(hours.sets, zone, now_ms, overrides),
        next_close_ms(hours.sets, zone, now_ms, overrides),
    )
