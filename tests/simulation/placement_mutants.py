"""Mutants of the rules of placement, order, deadlines, retries and run windows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from mythjobs.agent.core import starts
from mythjobs.master.attempts import retry
from mythjobs.master.core import MasterCore
from mythjobs.master.placement import cache
from mythjobs.model import window
from mythjobs.model.zone import load_zone
from mythjobs.scheduler import eligibility
from mythjobs.scheduler.capacity import MachineCapacity
from mythjobs.scheduler.order import BlockedJobs, FairShares, SortKey
from mythjobs.scheduler.placement_walk import PlacementWalk
from mythjobs.store.queries import ready_jobs
from mythjobs.store.writes import deadlines

Patch = tuple[Any, str, Any]


def _without_rule(name: str) -> Callable[[], list[Patch]]:
    """Placement does not apply a rule of eligibility."""

    def patches() -> list[Patch]:
        return [
            (eligibility, table, tuple(each for each in getattr(eligibility, table)
                                       if each[0] != name))
            for table in ("POLICY_RULES", "STATE_RULES")
        ]  # fmt: skip

    return patches


def _slots_ignored() -> list[Patch]:
    """The master leases without regard to a machine's slots."""
    return [
        (MachineCapacity, "is_full", False),
        (MachineCapacity, "can_take", lambda *_: True),
    ]


def _agent_ignores_slots() -> list[Patch]:
    """The agent starts what was leased ahead at once."""
    return [(starts, "free_slots", lambda ceiling, running: 1)]


def _read_ordered_by(key: Callable[[Any], Any]) -> Callable[[], list[Patch]]:
    """The ready jobs of a class are read, or kept since their submit, in another order."""

    def patches() -> list[Patch]:
        read_next = ready_jobs.read_next

        def read(tx: Any, class_id: int, limit: int) -> Any:
            return sorted(read_next(tx, class_id, 100_000), key=key)[:limit]

        return [(ready_jobs, "read_next", read), (cache, "_placement_order", key)]

    return patches


def _priority_ignored() -> list[Patch]:
    """Classes are taken in order of their age, whatever their priority."""

    def sort_key(_: FairShares, __: int, *rest: Any) -> SortKey:
        return SortKey(0, 0.0, 0, 0.0, rest[2])

    return [(FairShares, "sort_key", sort_key)]


def _deadline_missed() -> list[Patch]:
    """A job whose deadline has passed stays queued."""
    return [(deadlines, "find_missed", lambda *_: [])]


def _nothing_reserved() -> list[Patch]:
    """No units are reserved for a job that waits for a semaphore."""
    return [(BlockedJobs, "find_starving", lambda *_: [])]


def _reserved_by_age() -> list[Patch]:
    """Units are reserved for the job that has waited longest, whatever its priority."""
    find_starving = BlockedJobs.find_starving

    def by_age(self: BlockedJobs, steady_ms: int) -> Any:
        found = find_starving(self, steady_ms)
        return sorted(found, key=lambda each: (each[1].since_ms, each[1].job_id))

    return [(BlockedJobs, "find_starving", by_age)]


def _shares_not_charged() -> list[Patch]:
    """Leases are not charged to their submitter."""
    return [(FairShares, "charge", lambda *_: None)]


def _subject_leased_twice() -> list[Patch]:
    """A turn leases several jobs about one subject."""
    return [(PlacementWalk, "_is_subject_free", lambda *_: True)]


def _passed_over_read_again() -> list[Patch]:
    """Jobs that are passed over because of their subject are read again in the same pass."""
    place = PlacementWalk._place

    def place_forgetting(self: Any, job: Any, key: Any) -> bool:
        if self._is_subject_free(job):
            return bool(place(self, job, key))
        self._source._waiting[job.class_id].pop()
        return True

    return [(PlacementWalk, "_place", place_forgetting)]


def _with_failures(count: int) -> Callable[[], list[Patch]]:
    """The retry decision sees another number of earlier failures."""

    def patches() -> list[Patch]:
        failed = retry._failed

        def decide(outcome: Any, command: Any, history: Any, *rest: Any) -> Any:
            return failed(outcome, command, history._replace(failures=count), *rest)

        return [(retry, "_failed", decide)]

    return patches


def _no_backoff() -> list[Patch]:
    """A failed job runs again at once."""
    return [(retry, "backoff_s", lambda *_: 0.0)]


def _daylight_saving_ignored() -> list[Patch]:
    """Ranges follow the offset of the midnight before them."""

    def at_offset_of_midnight(day: dt.date, minute: int, zone: str) -> int:
        midnight = dt.datetime.combine(day, dt.time(), load_zone(zone))
        return round(midnight.timestamp() * 1000) + minute * 60_000

    return [(window, "instant_ms", at_offset_of_midnight)]


def _nothing_set_aside() -> list[Patch]:
    """An internal error at one class of jobs rolls back each turn."""
    return [(MasterCore, "set_failed_unit_aside", lambda *_: None)]


PLACEMENT_MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "rights-ignored": _without_rule("rights"),
    "pin-ignored": _without_rule("pin"),
    "labels-ignored": _without_rule("labels"),
    "closed-hours-ignored": _without_rule("window"),
    "ceiling-ignored": _without_rule("ceiling"),
    "at-most-ignored": _without_rule("at_most"),
    "semaphores-ignored": _without_rule("semaphores"),
    "slots-ignored": _slots_ignored,
    "agent-ignores-slots": _agent_ignores_slots,
    "newest-first": _read_ordered_by(lambda job: (-job.priority, -job.job_id)),
    "deadline-order-ignored": _read_ordered_by(lambda job: (-job.priority, job.job_id)),
    "priority-ignored": _priority_ignored,
    "deadline-missed": _deadline_missed,
    "nothing-reserved": _nothing_reserved,
    "reserved-by-age": _reserved_by_age,
    "shares-not-charged": _shares_not_charged,
    "subject-leased-twice": _subject_leased_twice,
    "passed-over-read-again": _passed_over_read_again,
    "failures-not-counted": _with_failures(0),
    "no-retry": _with_failures(99),
    "no-backoff": _no_backoff,
    "nothing-set-aside": _nothing_set_aside,
    "daylight-saving-ignored": _daylight_saving_ignored,
}
