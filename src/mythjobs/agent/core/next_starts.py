"""Next starts: attempts whose start the reaper got ahead. It starts one of them whenever another
attempt ends, without waiting for the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from mythjobs.agent.core.attempt import AgentAttempt, Key
from mythjobs.agent.core.turn import AgentTurn

# Maximum number of starts sent ahead. One for each slot is enough for ends that a reaper reports
# together.
_MAX_NEXT: Final = 64


class NextStarts:
    """The attempts in phase NEXT, in the order in which the reaper starts them.

    A change of whether, when or how one of them may start recalls all of them. The reaper answers
    which of them it has not started, and these wait in the agent again.
    """

    def __init__(self, turn: AgentTurn) -> None:
        self._turn = turn
        self._attempts: dict[Key, AgentAttempt] = {}
        self.commands: Counter[str] = Counter()  # number of attempts of each
        # No attempt is late before this (CLOCK_BOOTTIME ms).
        self._first_late_ms = 0
        # Reapers that have not answered a recall yet.
        self._recalled: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._attempts)

    @property
    def is_recalled(self) -> bool:
        return bool(self._recalled)

    def has_room(self, limit: int) -> bool:
        return len(self._attempts) < min(limit, _MAX_NEXT) and not self.is_recalled

    def add(self, attempt: AgentAttempt) -> None:
        is_first = not self._attempts
        self._attempts[attempt.key] = attempt
        self.commands[attempt.command] += 1
        if is_first or attempt.start_by_ms < self._first_late_ms:
            self._first_late_ms = attempt.start_by_ms

    def remove(self, attempt: AgentAttempt) -> None:
        """Remove an attempt, if it is here."""
        if self._attempts.pop(attempt.key, None) is not None:
            self.commands[attempt.command] -= 1
            if not self.commands[attempt.command]:
                del self.commands[attempt.command]

    def find_first(self) -> AgentAttempt | None:
        """Return the attempt that the reaper starts next; None if there is none, or if they are
        being recalled."""
        if self.is_recalled or any(each.stopped_by for each in self._attempts.values()):
            return None
        return next(iter(self._attempts.values()), None)

    def find(self, keys: Iterable[Key]) -> list[AgentAttempt]:
        return [self._attempts[key] for key in keys if key in self._attempts]

    def list_of(self, reaper: str) -> list[AgentAttempt]:
        return [each for each in self._attempts.values() if each.reaper == reaper]

    def must_follow(self, attempt: AgentAttempt) -> bool:
        """Return whether an attempt that waits in the agent must start before one of these."""
        last = next(reversed(self._attempts.values()), None)
        return last is not None and last.priority < attempt.priority

    def is_late(self, now_ms: int) -> bool:
        if now_ms < self._first_late_ms:
            return False
        return any(now_ms >= each.start_by_ms for each in self._attempts.values())

    def recall(self) -> None:
        for reaper in dict.fromkeys(each.reaper for each in self._attempts.values()):
            if reaper not in self._recalled:
                self._recalled.add(reaper)
                self._turn.send(reaper, {"type": "recall"})

    def end_recall(self, reaper: str) -> None:
        """Record that a reaper has answered, or has dropped all that it had."""
        self._recalled.discard(reaper)
