"""Who comes first: priority, fairness between submitters, the deadline, fairness between the
commands of a submitter, age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple

# What a job counts before its command's duration is learned.
UNLEARNED_S: Final = 10.0
# One that is blocked so long by what others take is given what becomes free.
STARVING_S: Final = 60.0
# Later than every deadline: instants end with the year 9999.
_NEVER_MS: Final = 2**53


def deadline_order(deadline_ms: int | None) -> int:
    """The deadline as it sorts: the earlier the smaller, and 0, the last, without one."""
    return 0 if deadline_ms is None else deadline_ms - _NEVER_MS


class SortKey(NamedTuple):
    """The place of a class's first job in the order; the smallest comes first."""

    priority: int  # negated
    submitter: float
    deadline: int  # deadline_order
    command: float
    job_id: int


@dataclass(slots=True)
class FairShares:
    """Machine time that was promised, by submitter and by command of a submitter.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): each starts where it ended last, but
    never before the one that was served last, so that who was idle has saved up nothing, and
    who waits always has its turn. No clock is read, so equal histories give equal orders.
    """

    finish_tags: dict[tuple[str, int], float] = field(default_factory=dict)
    command_virtual_times: dict[str, float] = field(default_factory=dict)
    virtual_time: float = 0.0  # where the last one that was served began

    def copy(self) -> FairShares:
        return FairShares(
            dict(self.finish_tags), dict(self.command_virtual_times), self.virtual_time
        )

    def sort_key(
        self, priority: int, submitter: str, command_id: int, job_id: int, deadline: int = 0
    ) -> SortKey:
        """Among the jobs of one submitter a deadline stands above the turns of commands; among
        submitters it does not, or one could have everything by writing deadlines."""
        return SortKey(
            -priority,
            max(self.finish_tags.get((submitter, 0), 0.0), self.virtual_time),
            deadline,
            max(
                self.finish_tags.get((submitter, command_id), 0.0),
                self.command_virtual_times.get(submitter, 0.0),
            ),
            job_id,
        )

    def charge(
        self, key: SortKey, submitter: str, command_id: int, typical_s: float | None
    ) -> None:
        """One more job of this command was promised to a machine, when `key` was its place."""
        cost = UNLEARNED_S if typical_s is None else typical_s
        self.virtual_time = key.submitter
        self.command_virtual_times[submitter] = key.command
        self.finish_tags[submitter, 0] = key.submitter + cost
        self.finish_tags[submitter, command_id] = key.command + cost


class ClassQueue:
    """Classes in the order of their keys, though keys grow with everything that is promised.

    Every job promised moves all classes of its submitter back. So classes of one priority and
    submitter stand in a line of their own, and only the first of each line is looked at again.
    `key` is where a class stands now; None takes it out.
    """

    def __init__(self, key: Callable[[int], SortKey | None]) -> None:
        self._key = key
        # Keys are as they were when they were pushed: they can only have grown since.
        self._lines: dict[tuple[int, str], list[tuple[int, float, int, int]]] = {}
        self._firsts: list[tuple[SortKey, tuple[int, str]]] = []

    def push(self, key: SortKey, submitter: str, class_id: int) -> None:
        name = (key.priority, submitter)
        line = self._lines.setdefault(name, [])
        entry = (key.deadline, key.command, key.job_id, class_id)
        if not line or entry < line[0]:
            heappush(self._firsts, (key, name))
        heappush(line, entry)

    def pop(self) -> tuple[SortKey, int] | None:
        """The class whose key is the smallest now."""
        while self._firsts:
            key, name = heappop(self._firsts)
            now = self._first(name)
            if now is None:
                continue
            if now > key:
                heappush(self._firsts, (now, name))
                continue
            line = self._lines[name]
            class_id = heappop(line)[3]
            if line:
                # The key of the line's new first, as it was when that was pushed.
                deadline, command, job_id, _ = line[0]
                first = SortKey(now.priority, now.submitter, deadline, command, job_id)
                heappush(self._firsts, (first, name))
            return now, class_id
        return None

    def _first(self, name: tuple[int, str]) -> SortKey | None:
        """The key of the first of a line, after those that have grown were put in their place."""
        line = self._lines[name]
        while line:
            class_id = line[0][3]
            now = self._key(class_id)
            if now is None:
                heappop(line)
            elif now[2:] > line[0][:3]:
                heapreplace(line, (now.deadline, now.command, now.job_id, class_id))
            else:
                return now
        return None
