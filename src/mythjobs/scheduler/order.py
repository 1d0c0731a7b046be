"""Order of waiting jobs: priority, submitter's share, deadline, command's share, age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from types import MappingProxyType
from typing import Final, NamedTuple

# Duration with which a job is charged while the usual duration of its command is unknown.
UNLEARNED_S: Final = 10.0
# Time for which a job must have waited for nothing but semaphores until units are reserved for it.
STARVING_S: Final = 60.0
# An instant in ms after every deadline: the latest possible deadline is in the year 9999.
_NEVER_MS: Final = 2**53


def deadline_order(deadline_ms: int | None) -> int:
    """Return a deadline as a sort key: the earlier, the smaller; 0, the greatest, for none."""
    return 0 if deadline_ms is None else deadline_ms - _NEVER_MS


class ReadyJob(NamedTuple):
    """A job that waits only for a machine with capacity."""

    job_id: int
    class_id: int
    priority: int
    subject: str | None
    overlap: int
    deadline_order: int = 0


class SortKey(NamedTuple):
    """Sort key of a job, compared field by field; the job with the smallest key is placed first."""

    priority: int  # negated, so that a higher priority sorts first
    submitter: float  # start tag of the submitter in FairShares
    deadline: int  # deadline_order
    command: float  # start tag of the submitter's jobs of this command
    job_id: int


@dataclass(slots=True)
class FairShares:
    """Machine time leased to each flow: each submitter, and each command of a submitter.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): the start tag of a flow is the finish
    tag of its last job, but at least the virtual time, which is the start tag of the job that
    was leased last. So an idle flow saves up no credit, and a waiting flow is never starved.
    No clock is read, so equal histories give equal orders.
    """

    # Finish tags by (submitter, command id); command 0 is the flow of all jobs of the submitter.
    finish_tags: dict[tuple[str, int], float] = field(default_factory=dict)
    command_virtual_times: dict[str, float] = field(default_factory=dict)  # by submitter
    virtual_time: float = 0.0

    def copy(self) -> FairShares:
        return FairShares(
            dict(self.finish_tags), dict(self.command_virtual_times), self.virtual_time
        )

    def sort_key(
        self, priority: int, submitter: str, command_id: int, job_id: int, deadline: int = 0
    ) -> SortKey:
        """Return the sort key of a waiting job.

        A deadline counts before the shares of one submitter's commands, but after the shares of
        submitters: else a submitter could overtake all others by setting deadlines.
        """
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
        """Record that the job with this key was leased: add its usual duration to its flows."""
        cost = UNLEARNED_S if typical_s is None else typical_s
        self.virtual_time = key.submitter
        self.command_virtual_times[submitter] = key.command
        self.finish_tags[submitter, 0] = key.submitter + cost
        self.finish_tags[submitter, command_id] = key.command + cost


class ClassQueue:
    """Priority queue of job classes, ordered by sort keys that grow while jobs are leased.

    Leasing a job increases the keys of all classes of the job's submitter. Each pair of priority
    and submitter has one heap. Keys never decrease, so only the first class of each heap needs
    its key computed again.
    sort_key: returns the current key of a class, or None to remove the class.
    """

    def __init__(self, sort_key: Callable[[int], SortKey | None]) -> None:
        self._sort_key = sort_key
        # Heaps by (priority, submitter). The key of a class in a heap may be outdated: its current
        # key is equal or greater.
        self._heaps: dict[tuple[int, str], list[tuple[int, float, int, int]]] = {}
        self._firsts: list[tuple[SortKey, tuple[int, str]]] = []

    def push(self, key: SortKey, submitter: str, class_id: int) -> None:
        name = (key.priority, submitter)
        heap = self._heaps.setdefault(name, [])
        entry = (key.deadline, key.command, key.job_id, class_id)
        if not heap or entry < heap[0]:
            heappush(self._firsts, (key, name))
        heappush(heap, entry)

    def push_pop(self, key: SortKey, submitter: str, class_id: int) -> tuple[SortKey, int] | None:
        """Push a class with its current key, then pop. Faster if the same class is popped, as it
        always is while only one class waits."""
        # A key in _firsts may be outdated: the current one is equal or greater.
        if not self._firsts or key < self._firsts[0][0]:
            return key, class_id
        self.push(key, submitter, class_id)
        return self.pop()

    def pop(self) -> tuple[SortKey, int] | None:
        """Remove the class with the smallest current key and return (key, class); None if empty."""
        while self._firsts:
            key, name = heappop(self._firsts)
            current = self._first_key(name)
            if current is None:
                continue
            if current > key:
                heappush(self._firsts, (current, name))
                continue
            heap = self._heaps[name]
            class_id = heappop(heap)[3]
            if heap:
                deadline, command, job_id, _ = heap[0]
                first = SortKey(current.priority, current.submitter, deadline, command, job_id)
                heappush(self._firsts, (first, name))
            return current, class_id
        return None

    def _first_key(self, name: tuple[int, str]) -> SortKey | None:
        """Return the key of a heap's first class, after moving back classes whose keys grew."""
        heap = self._heaps[name]
        while heap:
            class_id = heap[0][3]
            current = self._sort_key(class_id)
            if current is None:
                heappop(heap)
            elif current[2:] > heap[0][:3]:
                heapreplace(heap, (current.deadline, current.command, current.job_id, class_id))
            else:
                return current
        return None


class BlockedJob(NamedTuple):
    """First job of a class, which only semaphores keep waiting since `since_ms` (steady clock)."""

    job_id: int
    priority: int
    since_ms: int


class BlockedJobs:
    """Jobs that wait only for semaphores, by job class. The longest waits get reservations."""

    def __init__(self, jobs: Mapping[int, BlockedJob] = MappingProxyType({})) -> None:
        self._jobs = dict(jobs)

    def copy(self) -> BlockedJobs:
        return BlockedJobs(self._jobs)

    def add(self, job: ReadyJob, steady_ms: int) -> None:
        known = self._jobs.get(job.class_id)
        if known is None or known.job_id != job.job_id:
            self._jobs[job.class_id] = BlockedJob(job.job_id, job.priority, steady_ms)
        elif known.priority != job.priority:  # a user has changed it
            self._jobs[job.class_id] = known._replace(priority=job.priority)

    def remove(self, class_id: int) -> None:
        self._jobs.pop(class_id, None)

    def find_starving(self, steady_ms: int) -> list[tuple[int, BlockedJob]]:
        """Return the jobs blocked for at least STARVING_S seconds, each with its job class.

        The order is by priority, then by length of the wait. Jobs of higher priority may take
        reserved units, so the first reservation must be that of the highest priority.
        """
        found = [
            (class_id, each)
            for class_id, each in self._jobs.items()
            if steady_ms - each.since_ms >= 1000 * STARVING_S
        ]
        return sorted(found, key=_reservation_order)


def _reservation_order(starving: tuple[int, BlockedJob]) -> tuple[int, int, int]:
    _, blocked = starving
    return -blocked.priority, blocked.since_ms, blocked.job_id
