"""Whether hours let one more attempt start now, counted on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from mythjobs.agent.core.terms import Terms
from mythjobs.model.window import Hours
from mythjobs.scheduler.window_state import Opening, opening


class Openings:
    """What hours say is worked out once, and again when it changes or the clock steps."""

    def __init__(self) -> None:
        self._known: dict[Hours, Opening] = {}

    def opening(self, hours: Hours, wall_ms: int) -> Opening:
        """Raises ValueError for a zone that this machine does not know."""
        found = self._known.get(hours)
        if found is None or not found.holds(wall_ms):
            if len(self._known) > 1000:
                self._known.clear()
            found = self._known[hours] = opening(hours, wall_ms)
        return found

    def lets(self, terms: Terms, busy: int, others: Iterable[str], wall_ms: int) -> bool:
        """`busy` attempts run here, `others` are the commands of those whose names are known.
        The level of the machine's hours counts all, those of the command its own."""
        if terms.hours is None:
            return True
        levels = self.opening(terms.hours, wall_ms)
        if not levels.open or busy >= levels.machine:
            return False
        least = min(levels.command, levels.both)
        return sum(each == terms.command for each in others) < least
