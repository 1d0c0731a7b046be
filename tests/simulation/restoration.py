"""Backup and restore of the store, with what users and checkers know of the time in between.

The store and its preparation are real; only the copies of files are not. A restored store forgets
what was committed since the backup. What must hold then is stated in docs/store.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from mythjobs.store.writes import jobs
from tests.simulation.plan import Fault
from tests.simulation.program import Key

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.configuration import Saved

_READ_LIVE = "SELECT job_id, n FROM attempt WHERE over_ms IS NULL"


class _Backup(NamedTuple):
    """What was true when the store was copied. unfinished: jobs. live: attempts."""

    unfinished: frozenset[int]
    live: frozenset[Key]
    next_job_id: int
    configuration: Saved
    cancelled: frozenset[int]


class Restoration:
    """restored: whether the store has been restored."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._backup: _Backup | None = None
        self.restored = False
        self._held: set[int] = set()  # jobs that may not run until a user releases them
        self._lost_ids: list[range] = []  # ids of jobs that the restored store does not know
        self._leased: set[Key] = set()

    def back_up(self) -> None:
        cluster = self._cluster
        if cluster.store.back_up():
            unfinished = (each.job_id for each in cluster.view.jobs.values() if not each.is_final)
            self._backup = _Backup(
                frozenset(unfinished),
                frozenset(cluster.live),
                self._read_next_id(),
                cluster.configuration.save(),
                frozenset(cluster.users.cancelled),
            )

    def restore(self, fault: Fault) -> None:
        """Stop the master and replace its store by the backup. Value 1: the replaced store was not
        closed cleanly, so the ids that it has issued are unknown."""
        cluster, backup = self._cluster, self._backup
        if backup is None or cluster.store.full_faults:
            return
        sim = cluster.sim
        sim.count("restores")
        cluster.master.kill(fault.duration_ms)
        next_id = self._read_next_id()
        cluster.store.restore(cluster.master.clock.now(), is_known=fault.value == 0)
        self.restored = True
        goes_on = backup.live & cluster.live if fault.value == 0 else frozenset()
        with cluster.store.snapshot() as tx:
            tx.cursor.execute(_READ_LIVE)
            live = {(job_id, n) for job_id, n in tx.cursor.fetchall()}
        if live != goes_on:
            text = f"{sorted(live)} are live after the restore, not {sorted(goes_on)}"
            sim.report_violation("RESTORE", text)
        self._held = set(backup.unfinished) - {job_id for job_id, _ in goes_on}
        self._lost_ids.append(range(backup.next_job_id, next_id))
        cluster.checker.forsake(cluster.live - live)
        cluster.live = live
        cluster.configuration.load(backup.configuration)
        cluster.users.on_restore(backup.next_job_id, backup.cancelled, self._held)
        cluster.on_restore(self._read_next_id())

    def _read_next_id(self) -> int:
        with self._cluster.store.snapshot() as tx:
            return jobs.read_next_id(tx)

    def on_released(self, job_ids: Iterable[int]) -> None:
        """A user's request to release jobs was committed."""
        self._held.difference_update(job_ids)

    def check(self, leased: Iterable[Key], job_ids: Iterable[int]) -> None:
        """Check a commit: its new leases, and the jobs that there are now."""
        report = self._cluster.sim.report_violation
        for key in leased:
            if key in self._leased:
                report("I5", f"{key} is leased a second time")
            self._leased.add(key)
            if key[0] in self._held:
                text = f"job {key[0]} may have run since the backup, but is leased unreleased"
                report("RESTORE", text)
        if self.restored:
            for job_id in job_ids:
                if any(job_id in each for each in self._lost_ids):
                    report("I5", f"{job_id} is the id of another job since the restore")
