"""Fit cache: whether and how each job class may run on each machine, until a policy changes."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from mythjobs.master.catalog import JobClass
from mythjobs.master.machine import Machine
from mythjobs.master.state import MasterState
from mythjobs.model.limits import Limits
from mythjobs.model.window import Hours
from mythjobs.protocol.run_spec import RunSpec
from mythjobs.scheduler.capacity import MachineCapacity
from mythjobs.scheduler.eligibility import MachineFacts, MachineFit, compute_fit
from mythjobs.scheduler.settings import combine_settings
from mythjobs.scheduler.window_state import WindowStateCache

# Maximum number of job classes cached for a machine, above which its cache is cleared.
_MAX_CLASSES: Final = 10_000


class MeasuredMachine(NamedTuple):
    """How many more jobs a machine can take, and its facts for the rules of eligibility."""

    capacity: MachineCapacity
    facts: MachineFacts


class GrantTerms(NamedTuple):
    """Terms on which one machine gets jobs of one class.

    run: how to execute the jobs, without fields that differ from job to job, such as argv.
    """

    hours: Hours | None
    limits: Limits
    silence: str
    lease_s: float | None
    run: RunSpec


class FitCache:
    """Caches the fit of each job class on each machine, and the terms of its grants.

    The fits follow from the master's state and the job classes alone, so a turn needs no draft of
    this cache. Cleared when a turn is rolled back, which may have inserted job classes.
    """

    def __init__(self) -> None:
        # By machine id: the machine as it was last seen, and the policies that its fits depend on.
        # A machine that has not changed since is the same object (MasterState.open_machine).
        self._seen: dict[int, Machine] = {}
        self._snapshots: dict[int, tuple[object, ...]] = {}
        self._fits: dict[int, dict[int, MachineFit]] = {}  # by machine id, then class id
        # By machine id and class id. The terms depend on whether other machines are eligible, too.
        self._terms: dict[tuple[int, int], GrantTerms] = {}
        self._versions = itertools.count(1)
        self._version = 0
        self.windows = WindowStateCache()
        # By machine id: the machine as it was last measured, and what placement needs of it.
        self._measured: dict[int, tuple[Machine, MeasuredMachine]] = {}

    def clear(self) -> None:
        self._seen.clear()
        self._snapshots.clear()
        self._fits.clear()
        self._terms.clear()
        self._measured.clear()
        self.windows.clear()

    def refresh(self, state: MasterState) -> tuple[object, set[int]]:
        """Remove outdated entries. Return a version of all policies, another one after each change,
        and the ids of the machines whose policies or connections have changed."""
        changed = set()
        for machine_id, machine in state.machines.items():
            if self._seen.get(machine_id) is machine:
                continue
            self._seen[machine_id] = machine
            snapshot = _policy_snapshot(state, machine)
            if self._snapshots.get(machine_id) != snapshot:
                self._fits.pop(machine_id, None)
                self._snapshots[machine_id] = snapshot
                changed.add(machine_id)
        if changed:
            self._terms.clear()
            self._version = next(self._versions)
        return (self._version, state.placement.disabled), changed

    def find_terms(self, machine: Machine, job_class: JobClass) -> GrantTerms | None:
        """Return the terms of a job class on a machine that were added since a policy changed."""
        return self._terms.get((machine.machine_id, job_class.class_id))

    def add_terms(self, machine: Machine, job_class: JobClass, terms: GrantTerms) -> None:
        if len(self._terms) >= _MAX_CLASSES:
            self._terms.clear()
        self._terms[machine.machine_id, job_class.class_id] = terms

    def find_measured(self, machine: Machine) -> MeasuredMachine | None:
        """Return what was measured of a machine, None if it has changed since."""
        known = self._measured.get(machine.machine_id)
        return known[1] if known is not None and known[0] is machine else None

    def add_measured(self, machine: Machine, measured: MeasuredMachine) -> None:
        self._measured[machine.machine_id] = (machine, measured)

    def remove_measured(self, machine_id: int) -> None:
        """Measure a machine again, as jobs were counted for it that it may not have got."""
        self._measured.pop(machine_id, None)

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
        machine.accepts_grants,
        machine.connection if machine.heartbeat_no else None,
        machine.name,
        machine.rights,
        machine.own,
        machine.policy,
        machine.zone,
        machine.capabilities,
        machine.found_labels,
        overrides,
    )
