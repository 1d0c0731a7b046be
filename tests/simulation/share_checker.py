"""Share checker: a submitter that has had nothing yet gets its turn soon."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Final

from tests.simulation.queue_view import QueuedJob
from tests.simulation.simulator import Simulator

# A submitter that has had nothing yet is passed over by at most this many leases of others.
_MAX_PASSED: Final = 20


class ShareChecker:
    """`check` is called after each commit that wrote something."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._passed: Counter[str] = Counter()  # leases of others, by waiting submitter
        self._served: set[str] = set()

    def on_master_start(self) -> None:
        """A master does not remember the shares of submitters."""
        self._passed.clear()

    def check(
        self,
        waiting: Iterable[tuple[QueuedJob, Collection[str]]],
        leased: Collection[tuple[str, QueuedJob]],
    ) -> None:
        """waiting: ready jobs, each with the machines of which it needs nothing but a free slot.

        leased: (machine, job) of the new leases. Only those on a machine of a waiting job pass its
        submitter over: other machines are of no use to that job, so others may have all of them.
        """
        by_submitter: defaultdict[str, list[tuple[QueuedJob, Collection[str]]]] = defaultdict(list)
        for job, machines in waiting:
            if machines:
                by_submitter[job.submitter].append((job, machines))
        self._served.update(job.submitter for _, job in leased)
        for submitter in self._passed.keys() - by_submitter.keys():
            del self._passed[submitter]
        for submitter, jobs in by_submitter.items():
            if submitter in self._served:
                continue
            self._passed[submitter] += sum(
                any(name in machines and each.priority <= job.priority for job, machines in jobs)
                for name, each in leased
            )
            if self._passed[submitter] > _MAX_PASSED:
                text = f"{submitter} waits while others get {self._passed[submitter]} leases"
                self._sim.report_violation("SHARE", text)
