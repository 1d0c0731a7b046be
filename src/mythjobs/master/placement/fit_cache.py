"""Fit cache: whether and how each job class may run on each machine, until a policy changes."""

from __future__ import annotations

from typing import Final

from mythjobs.master.catalog import JobClass
from mythjobs.master.state import Machine, MasterState
from mythjobs.scheduler.eligibility import MachineFit, compute_fit
from mythjobs.scheduler.settings import combine_settings
from mythjobs.scheduler.window_state import WindowStateCache

# Maximum number of job classes cached for a machine, above which its cache is cleared.
_MAX_CLASSES: Final = 10_000


class FitCache:
    """Caches the fit of each job class on each machine.

    The fits follow from the master's state and the job classes alone, so a turn needs no draft of
    this cache. Cleared when a turn is rolled back, which may have inserted job classes.
    """

    def __init__(self) -> None:
        self._snapshots: dict[int, tuple[object, ...]] = {}  # policies, by machine id
        self._fits: dict[int, dict[int, MachineFit]] = {}  # by machine id, then class id
        self.windows = WindowStateCache()

    def clear(self) -> None:
        self._snapshots.clear()
        self._fits.clear()
        self.windows.clear()

    def refresh(self, state: MasterState) -> tuple[object, ...]:
        """Remove outdated entries. Return a snapshot of all policies.

        As long as no policy changes, the snapshots are equal.
        """
        for machine_id, machine in state.machines.items():
            snapshot = _policy_snapshot(state, machine)
            if self._snapshots.get(machine_id) != snapshot:
                self._fits.pop(machine_id, None)
                self._snapshots[machine_id] = snapshot
        available = tuple(
            each.machine_id for each in state.machines.values() if each.accepts_grants
        )
        return (available, state.placement.disabled, *self._snapshots.values())

    def fit(self, state: MasterState, machine: Machine, job_class: JobClass) -> MachineFit:
        """Return how a job class fits a machine, as of the last refresh()."""
        fits = self._fits.setdefault(machine.machine_id, {})
        found = fits.get(job_class.class_id)
        if found is None:
            settings = combine_settings(
                job_class.command,
                machine.policy,
                machine.zone,
                job_class.limits,
                state.placement.active_overrides(machine.machine_id, job_class.command_id),
                machine.own,
            )
            found = compute_fit(job_class.requirements, machine.facts(), settings)
            if len(fits) >= _MAX_CLASSES:
                fits.clear()
            fits[job_class.class_id] = found
        return found


def _policy_snapshot(state: MasterState, machine: Machine) -> tuple[object, ...]:
    """Return all policies and properties of a machine on which its cached fits depend."""
    overrides: tuple[object, ...] = ()
    if state.placement.overrides:
        entries = sorted(state.placement.overrides.items())
        overrides = tuple(each for each in entries if each[0][0] == machine.machine_id)
    return (
        machine.name,
        machine.rights,
        machine.own,
        machine.policy,
        machine.zone,
        machine.capabilities,
        machine.found_labels,
        overrides,
    )
