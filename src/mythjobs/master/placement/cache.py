"""Placement cache: data that placement keeps between turns, such as each job class's next jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mythjobs.model.window import Overrides
from mythjobs.scheduler.order import BlockedJobs, FairShares, ReadyJob
from mythjobs.store.writes.overrides import EVERY_COMMAND

# Maximum number of next jobs cached for a job class, so that memory does not grow with the
# backlog.
MAX_NEXT_JOBS: Final = 64
# Time for which a machine is offered no job of a class, after it returned such a job because its
# run window was closed.
DECLINED_MS: Final = 60_000


class NextJobs(NamedTuple):
    """The next ready jobs of a job class, in order.

    is_complete: the class had no other ready jobs when these were read.
    """

    jobs: tuple[ReadyJob, ...]
    is_complete: bool


class HiddenPath(NamedTuple):
    """A path on a machine that could not be read there. until_ms: wall clock, when it is tried
    again; hold_ms: for how long it was not tried."""

    until_ms: int
    hold_ms: int


def _placement_order(job: ReadyJob) -> tuple[int, int, int]:
    """Return the sort key of a class's jobs: the order in which the store returns them."""
    return -job.priority, job.deadline_order, job.job_id


@dataclass(slots=True)
class PlacementCache:
    """The part of MasterState that placement uses.

    The values in its dicts are replaced, never changed, so that drafts can share them.
    overrides: (`allow` or `pause`, end) by (machine id, command id); command id 0 means all.
    ready_classes: classes that may have a ready job. unplaceable: classes that no machine permits
    under the policies of `policy_snapshot`. declined_until_ms: by (machine id, class id), the time
    (wall clock) until which the machine is offered no job of the class; see record_decline().
    hidden_paths: by machine id, paths that cannot be read there; see placement/visibility.py.
    """

    overrides: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    semaphore_sizes: dict[str, int] = field(default_factory=dict)
    freed_by_freeze: frozenset[str] = frozenset()  # semaphores that frozen jobs release
    disabled: frozenset[int] = frozenset()  # ids of disabled commands
    shares: FairShares = field(default_factory=FairShares)
    ready_classes: set[int] = field(default_factory=set)
    next_jobs: dict[int, NextJobs] = field(default_factory=dict)
    unplaceable: set[int] = field(default_factory=set)
    policy_snapshot: object = None
    blocked: BlockedJobs = field(default_factory=BlockedJobs)
    without_room: BlockedJobs = field(default_factory=BlockedJobs)
    declined_until_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    hidden_paths: dict[int, dict[str, HiddenPath]] = field(default_factory=dict)

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
            without_room=self.without_room.copy(),
            declined_until_ms=dict(self.declined_until_ms),
            hidden_paths=dict(self.hidden_paths),
        )

    def invalidate(self, classes: Iterable[int]) -> None:
        """Drop the cached next jobs of job classes, because some of their jobs have changed."""
        for class_id in classes:
            self.next_jobs.pop(class_id, None)
            self.ready_classes.add(class_id)

    def add_ready(self, class_id: int, new: Iterable[ReadyJob]) -> None:
        """Add jobs that this turn has inserted as ready to the cached next jobs of their class.

        So a job that starts at once is not read from the store again.
        """
        known = self.next_jobs.get(class_id)
        if known is None:
            if class_id in self.ready_classes:
                return  # the class may have other ready jobs: the placement pass reads them all
            known = NextJobs((), is_complete=True)
        elif not known.is_complete:
            self.next_jobs.pop(class_id)
            return
        jobs = sorted([*known.jobs, *new], key=_placement_order)
        if not jobs:
            return
        # Twice the number that save_remaining() keeps, which leaves out those that are leased.
        is_complete = len(jobs) <= 2 * MAX_NEXT_JOBS
        self.next_jobs[class_id] = NextJobs(tuple(jobs[: 2 * MAX_NEXT_JOBS]), is_complete)
        self.ready_classes.add(class_id)

    def remove_class(self, class_id: int) -> None:
        """Remove a class without ready jobs; invalidate() adds it again when a job is ready."""
        self.ready_classes.discard(class_id)
        self.next_jobs.pop(class_id, None)
        self.blocked.remove(class_id)
        self.without_room.remove(class_id)

    def active_overrides(self, machine_id: int, command_id: int) -> Overrides:
        if not self.overrides:
            return ()
        keys = ((machine_id, EVERY_COMMAND), (machine_id, command_id))
        return tuple(self.overrides[key] for key in keys if key in self.overrides)

    def record_decline(self, machine_id: int, class_id: int, now_ms: int) -> None:
        """Stop offering a machine jobs of a class for DECLINED_MS, after it returned such a job.

        By the machine's clock its run window is closed: it returns every such job, and each try
        uses up an attempt number.
        """
        self.declined_until_ms = {
            key: until_ms
            for key, until_ms in self.declined_until_ms.items()
            if 0 < until_ms - now_ms <= DECLINED_MS
        }
        self.declined_until_ms[machine_id, class_id] = now_ms + DECLINED_MS

    def decline_left_ms(self, machine_id: int, class_id: int, now_ms: int) -> int:
        """Return for how long (ms) a machine is still offered no job of a class, or 0.

        If the clock was set back meanwhile, the result is 0.
        """
        left_ms = self.declined_until_ms.get((machine_id, class_id), 0) - now_ms
        return left_ms if 0 < left_ms <= DECLINED_MS else 0

    def clear_declines(self, machine_id: int) -> None:
        for key in [key for key in self.declined_until_ms if key[0] == machine_id]:
            del self.declined_until_ms[key]
