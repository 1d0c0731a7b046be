"""Next starts: attempts whose start the reaper got ahead. It starts one of them whenever another
attempt ends, without waiting for the agent."""

from __future__ import annotations

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
        # By attempt that must not start any more: by whom it was stopped.
        self._stops: dict[Key, str] = {}
        self.is_recalled = False

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def has_room(self, slots: int) -> bool:
        return len(self._attempts) < min(slots, _MAX_NEXT) and not self.is_recalled

    def add(self, attempt: AgentAttempt) -> None:
        self._attempts[attempt.key] = attempt

    def remove(self, attempt: AgentAttempt) -> str:
        """Remove an attempt, if it is here. Return by whom it was stopped, "" if it was not."""
        self._attempts.pop(attempt.key, None)
        return self._stops.pop(attempt.key, "")

    def find_first(self) -> AgentAttempt | None:
        """Return the attempt that the reaper starts next; None if there is none, or if they are
        being recalled."""
        # The reaper also gives back by itself what is late, which ends the recall here too early.
        if self.is_recalled or self._stops:
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
        return any(now_ms >= each.start_by_ms for each in self._attempts.values())

    def stop(self, attempt: AgentAttempt, by: str) -> None:
        """Have an attempt never start. The reaper may have started it already."""
        self._stops.setdefault(attempt.key, by)
        self.recall()

    def recall(self) -> None:
        if self._attempts and not self.is_recalled:
            self.is_recalled = True
            for reaper in {each.reaper for each in self._attempts.values()}:
                self._turn.send(reaper, {"type": "recall"})
