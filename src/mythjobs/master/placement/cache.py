"""What placement remembers between turns: who asks what where, and the next jobs of each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mythjobs.model.window import Overrides
from mythjobs.scheduler.order import STARVING_S, FairShares
from mythjobs.store.queries.ready_jobs import ReadyJob
from mythjobs.store.writes.overrides import EVERY_COMMAND

# How many next jobs of a class are kept: memory does not grow with the backlog.
MAX_NEXT_JOBS: Final = 64
# So long a machine is offered nothing more of a class that it gave back as closed.
DECLINED_MS: Final = 60_000


class NextJobs(NamedTuple):
    """The next ready jobs of a class, in order. `whole`: there were no more when it was read."""

    jobs: tuple[ReadyJob, ...]
    is_complete: bool


class BlockedJob(NamedTuple):
    """The first job of a class, and since when (steady) semaphores alone keep it waiting."""

    job_id: int
    priority: int
    since_ms: int


@dataclass(slots=True)
class PlacementCache:
    """Part of the memory. Values are replaced, never changed, so that drafts may share them.

    overrides: `allow` or `pause` and until when, by (machine, command), command 0 for all.
    ready: classes that may have a ready job. nowhere: those of them that no machine may run
    until somebody says otherwise; `standing` is what was said when that was found.
    """

    overrides: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    semaphore_sizes: dict[str, int] = field(default_factory=dict)
    freed_by_freeze: frozenset[str] = frozenset()  # semaphores that frozen jobs give back
    disabled: frozenset[int] = frozenset()
    shares: FairShares = field(default_factory=FairShares)
    ready_classes: set[int] = field(default_factory=set)
    next_jobs: dict[int, NextJobs] = field(default_factory=dict)
    unplaceable: set[int] = field(default_factory=set)
    policy_snapshot: object = None
    blocked: dict[int, BlockedJob] = field(default_factory=dict)
    # (machine, class), until when (wall): the machine gave it back, its own hours being closed.
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
            blocked=dict(self.blocked),
            declined_until_ms=dict(self.declined_until_ms),
        )

    def invalidate(self, classes: Iterable[int]) -> None:
        """Something about the jobs of these classes is new: what was read of them is old."""
        for class_id in classes:
            self.next_jobs.pop(class_id, None)
            self.ready_classes.add(class_id)

    def remove_class(self, class_id: int) -> None:
        """It has no ready job; whoever makes one ready wakes it."""
        self.ready_classes.discard(class_id)
        self.next_jobs.pop(class_id, None)
        self.blocked.pop(class_id, None)

    def active_overrides(self, machine_id: int, command_id: int) -> Overrides:
        """What was said until a time, of all commands there and of this one."""
        if not self.overrides:
            return ()
        keys = ((machine_id, EVERY_COMMAND), (machine_id, command_id))
        return tuple(self.overrides[key] for key in keys if key in self.overrides)

    def record_decline(self, machine_id: int, class_id: int, now_ms: int) -> None:
        """This machine's clock has other hours: it is not asked again at once, which would use
        up the numbers of attempts and do nothing."""
        self.declined_until_ms = {
            key: until_ms
            for key, until_ms in self.declined_until_ms.items()
            if 0 < until_ms - now_ms <= DECLINED_MS
        }
        self.declined_until_ms[machine_id, class_id] = now_ms + DECLINED_MS

    def decline_left_ms(self, machine_id: int, class_id: int, now_ms: int) -> int:
        """How long that lasts yet; 0 if it does not. A clock that stepped back ends it."""
        left_ms = self.declined_until_ms.get((machine_id, class_id), 0) - now_ms
        return left_ms if 0 < left_ms <= DECLINED_MS else 0

    def clear_declines(self, machine_id: int) -> None:
        for key in [key for key in self.declined_until_ms if key[0] == machine_id]:
            del self.declined_until_ms[key]

    def record_blocked(self, class_id: int, job: ReadyJob, steady_ms: int) -> None:
        """This job is the first of its class, and semaphores alone keep it waiting."""
        there = self.blocked.get(class_id)
        if there is None or there.job_id != job.job_id:
            self.blocked[class_id] = BlockedJob(job.job_id, job.priority, steady_ms)

    def find_starving(self, steady_ms: int) -> list[tuple[int, BlockedJob]]:
        """Classes whose first job has waited too long for units, the longest first."""
        found = [
            (class_id, each)
            for class_id, each in self.blocked.items()
            if steady_ms - each.since_ms >= 1000 * STARVING_S
        ]
        return sorted(found, key=lambda each: (each[1].since_ms, each[1].job_id))
