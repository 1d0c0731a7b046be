"""View of the master's state for explanations: the input of the placement rules."""

from __future__ import annotations

from collections.abc import Mapping

from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.machine import Machine
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.placement.placement_pass import current_requirements, list_running
from mythjobs.master.placement.visibility import (
    NO_PATHS,
    JobPaths,
    find_hidden,
)
from mythjobs.master.state import MasterState
from mythjobs.scheduler.blocked import explain_wait
from mythjobs.scheduler.capacity import UsageCounts
from mythjobs.scheduler.eligibility import (
    Candidate,
    Conditions,
    Requirements,
)
from mythjobs.store.transaction import Transaction


class PlacementView:
    """Input of the placement rules, which decide whether a job class may run on a machine.

    Built for each request that asks why jobs wait."""

    def __init__(self, state: MasterState, fits: FitCache, classes: Mapping[int, JobClass]) -> None:
        """classes: job classes of all live attempts, by class id, for semaphore usage."""
        self._state = state
        self._fits = fits
        fits.refresh(state)
        self._counts = UsageCounts(
            list_running(state, lambda each: classes[each].requirements.semaphores)
        )

    def requirements(self, job_class: JobClass) -> Requirements:
        return current_requirements(self._state, job_class)

    def candidates(
        self, job_class: JobClass, now_ms: int, paths: JobPaths = NO_PATHS
    ) -> list[Candidate]:
        """Return all machines as candidates. paths: those of one job of the class."""
        if self.requirements(job_class).set_aside:
            return []  # evaluating the class's rules failed before, so do not try it here
        machines = [each for each in self._state.machines.values() if not each.is_revoked]
        return [self.candidate(each, job_class, now_ms, paths) for each in machines]

    def candidate(
        self, machine: Machine, job_class: JobClass, now_ms: int, paths: JobPaths = NO_PATHS
    ) -> Candidate:
        state, class_id, machine_id = self._state, job_class.class_id, machine.machine_id
        settings = self._fits.fit(state, machine, job_class).settings
        window = None
        if settings.hours is not None and not settings.hours_error:
            window = self._fits.windows.find(settings.hours, now_ms)
        hidden = find_hidden(state, machine, paths, now_ms)
        conditions = Conditions(
            now_ms,
            self._counts,
            state.placement.semaphore_sizes,
            window,
            state.typical_s(job_class.command_id, machine_id),
            declined_ms=state.placement.decline_left_ms(machine_id, class_id, now_ms),
            hidden=hidden[0] if hidden else "",
        )
        return Candidate(self.requirements(job_class), machine.facts(), settings, conditions)

    def explain_wait(self, job_class: JobClass, now_ms: int) -> tuple[str, str]:
        """Return why a ready job of this class does not start, as a reason code and a sentence."""
        candidates = self.candidates(job_class, now_ms)
        return explain_wait(self.requirements(job_class), candidates, now_ms)


def read_placement_view(tx: Transaction, state: MasterState) -> PlacementView:
    """Return a PlacementView for a query outside turns, which must not use the turns' caches."""
    classes = {each: read_class(tx, each) for each in live_class_ids(state)}
    return PlacementView(state, FitCache(), classes)


def live_class_ids(state: MasterState) -> set[int]:
    return {
        live.class_id for each in state.machines.values() for live in each.live_attempts.values()
    }


def machine_names(state: MasterState) -> set[str]:
    return {each.name for each in state.machines.values() if not each.is_revoked}
