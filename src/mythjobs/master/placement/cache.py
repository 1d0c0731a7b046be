"""Placement cache: what placement keeps between turns, such as the next jobs of each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mythjobs.model.window import Overrides
from mythjobs.scheduler.order import BlockedJobs, FairShares, ReadyJob
from mythjobs.store.writes.overrides import EVERY_COMMAND

# Next jobs kept for a class, so that memory does not grow with the backlog.
MAX_NEXT_JOBS: Final = 64
# For how long a machine is offered no job of a class after it returned one as closed.
DECLINED_MS: Final = 60_000


class NextJobs(NamedTuple):
    """The next ready jobs of a class, in order. is_complete: there were no more when read."""

    jobs: tuple[ReadyJob, ...]
    is_complete: bool


@dataclass(slots=True)
class PlacementCache:
    """Part of MasterState. Values are replaced, never changed, so that drafts may share them.

    overrides: (`allow` or `pause`, end) by (machine, command); command 0 stands for all.
    ready_classes: classes that may have a ready job. unplaceable: those of them that no machine
    permits as of `policy_snapshot`. declined_until_ms: by (machine, class), the wall time until
    which the machine, which returned a job as closed by its own clock, is offered none.
    """

    overrides: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    semaphore_sizes: dict[str, int] = field(default_factory=dict)
    freed_by_freeze: frozenset[str] = frozenset()  # semaphores that frozen jobs release
    disabled: frozenset[int] = frozenset()  # commands
    shares: FairShares = field(default_factory=FairShares)
    ready_classes: set[int] = field(default_factory=set)
    next_jobs: dict[int, NextJobs] = field(default_factory=dict)
    unplaceable: set[int] = field(default_factory=set)
    policy_snapshot: object = None
    blocked: BlockedJobs = field(default_factory=BlockedJobs)
    declined_until_ms: dict[tuple[int, int], int] = field(default_factory=dict)

    def draft(self) -> PlacementCache:
        return PlacementCache(
            overrides=dict(self.overrides),
            semaphore_sizes=dict(self.semaphore_sizes),
            freed_by_freeze=self.freed_by_freeze,
            disabled=self.disabled,
            shares=self.shares.copy(),
            ready_classes=set(self.ready_classes),
            next_jobs=dict(self.next_jobs),
            unplaceable=set(self.unplaceable),
            policy_snapshot=self.policy_snapshot,
            blocked=self.blocked.copy(),
            declined_until_ms=dict(self.declined_until_ms),
        )

    def invalidate(self, classes: Iterable[int]) -> None:
        """Forget the jobs that were read of these classes, because some have changed."""
        for class_id in classes:
            self.next_jobs.pop(class_id, None)
            self.ready_classes.add(class_id)

    def remove_class(self, class_id: int) -> None:
        """Leave out a class without ready jobs, until the next ready one invalidates it."""
        self.ready_classes.discard(class_id)
        self.next_jobs.pop(class_id, None)
        self.blocked.remove(class_id)

    def active_overrides(self, machine_id: int, command_id: int) -> Overrides:
        if not self.overrides:
            return ()
        keys = ((machine_id, EVERY_COMMAND), (machine_id, command_id))
        return tuple(self.overrides[key] for key in keys if key in self.overrides)

    def record_decline(self, machine_id: int, class_id: int, now_ms: int) -> None:
        """Offer the machine no job of the class for DECLINED_MS.

        By the machine's clock the hours are closed, so offers would only use up attempt numbers.
        """
        self.declined_until_ms = {
            key: until_ms
            for key, until_ms in self.declined_until_ms.items()
            if 0 < until_ms - now_ms <= DECLINED_MS
        }
        self.declined_until_ms[machine_id, class_id] = now_ms + DECLINED_MS

    def decline_left_ms(self, machine_id: int, class_id: int, now_ms: int) -> int:
        """Return how long the decline still lasts, or 0. A clock that stepped back ends it."""
        left_ms = self.declined_until_ms.get((machine_id, class_id), 0) - now_ms
        return left_ms if 0 < left_ms <= DECLINED_MS else 0

    def clear_declines(self, machine_id: int) -> None:
        for key in [key for key in self.declined_until_ms if key[0] == machine_id]:
            del self.declined_until_ms[key]
