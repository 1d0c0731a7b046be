"""State of run windows at an instant: how many jobs may run, and until when that is valid."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.model.weekly import FULL
from mythjobs.model.window import (
    OWN_SET,
    PAUSE,
    Hours,
    level_at,
    next_change_ms,
    next_close_ms,
    next_open_ms,
)

_MAX_CACHED = 10_000


class WindowState(NamedTuple):
    """State of run windows, valid for every instant of [from_ms, until_ms).

    A level is the number of jobs that one set of windows lets run at once: the command's set, the
    machine's set, and the set for this command on this machine (shared_level). opens_ms: first
    instant at which all sets are open, closes_ms: at which any set is closed; None if never.
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
    """Return the state of run windows at `now_ms`. Raises ValueError for an unknown time zone."""
    zone, overrides = hours.zone, hours.overrides
    alone = [([each], overrides) for each in hours.sets[:OWN_SET]]
    pauses = tuple(each for each in overrides if each[0] == PAUSE)
    alone += [([each], pauses) for each in hours.sets[OWN_SET:]]
    command, machine, shared, *own = (level_at(one, zone, now_ms, given) for one, given in alone)
    changes = [next_change_ms(one, zone, now_ms, given) for one, given in alone]
    return WindowState(
        now_ms,
        min((each for each in changes if each is not None), default=None),
        command,
        min(machine, *own) if own else machine,
        shared,
        next_open_ms(hours.sets, zone, now_ms, overrides),
        next_close_ms(hours.sets, zone, now_ms, overrides),
    )


class WindowStateCache:
    """Cache of window states; each is computed again only when it is no longer valid."""

    def __init__(self) -> None:
        self._states: dict[Hours, WindowState] = {}

    def clear(self) -> None:
        self._states.clear()

    def find(self, hours: Hours, now_ms: int) -> WindowState:
        """Return the state of `hours` at `now_ms`. Raises ValueError for an unknown zone."""
        found = self._states.get(hours)
        if found is None or not found.is_valid_at(now_ms):
            if len(self._states) > _MAX_CACHED:
                self._states.clear()
            found = self._states[hours] = compute_window_state(hours, now_ms)
        return found
