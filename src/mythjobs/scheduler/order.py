"""Who comes first: priority, then fairness between submitters and commands, then age."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

# What a job counts before its command's duration is learned.
UNLEARNED_S: Final = 10.0
# One that is blocked so long by what others take is given what becomes free.
STARVING_S: Final = 60.0


class Key(NamedTuple):
    """The place of a class's first job in the order; the smallest comes first."""

    priority: int  # negated
    submitter: float
    command: float
    job_id: int


@dataclass(slots=True)
class Shares:
    """Machine time that was promised, by submitter and by command of a submitter.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): each starts where it ended last, but
    never before the one that was served last, so that who was idle has saved up nothing, and
    who waits always has its turn. No clock is read, so equal histories give equal orders.
    """

    spent: dict[tuple[str, int], float] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=dict)  # "": the last submitter's start
    last: float = 0.0

    def draft(self) -> Shares:
        return replace(self, spent=dict(self.spent), served=dict(self.served))

    def key(self, priority: int, submitter: str, command_id: int, job_id: int) -> Key:
        return Key(
            -priority,
            max(self.spent.get((submitter, 0), 0.0), self.last),
            max(self.spent.get((submitter, command_id), 0.0), self.served.get(submitter, 0.0)),
            job_id,
        )

    def charge(self, key: Key, submitter: str, command_id: int, typical_s: float | None) -> None:
        """One more job of this command was promised to a machine, when `key` was its place."""
        cost = UNLEARNED_S if typical_s is None else typical_s
        self.last = key.submitter
        self.served[submitter] = key.command
        self.spent[submitter, 0] = key.submitter + cost
        self.spent[submitter, command_id] = key.command + cost
