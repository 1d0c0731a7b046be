"""Classes on machines, worked out once and kept until something they depend on changes."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.master.catalog import JobClass
from mythjobs.master.state import Machine, MasterState
from mythjobs.model.machine_policy import combined_hours, combined_limits
from mythjobs.model.window import Hours
from mythjobs.model.zone import load_zone
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.capacity import UsageCounts
from mythjobs.scheduler.window_state import WindowState, compute_window_state


class MachineFit(NamedTuple):
    """A class on a machine. `stands`: all that people said lets it run there. `plain`: nothing
    that time or other jobs change can keep it from there, but room."""

    settings: e.EffectiveSettings
    permitted: bool
    unconditional: bool


_NO_MOMENT = e.Conditions(0, UsageCounts(()), {})


class FitCache:
    """Derived from memory and classes alone, so it needs no draft; cleared with the book when a
    turn is rolled back, for classes that were made in it."""

    def __init__(self) -> None:
        self._said: dict[int, tuple[object, ...]] = {}
        self._spots: dict[int, dict[int, MachineFit]] = {}  # by machine, by class
        self._openings: dict[Hours, WindowState] = {}

    def clear(self) -> None:
        self._said.clear()
        self._spots.clear()
        self._openings.clear()

    def refresh(self, memory: MasterState) -> tuple[object, ...]:
        """Forgets what is no longer true. Answers all that was said, to be compared with later."""
        for machine_id, machine in memory.machines.items():
            said = _said(memory, machine)
            if self._said.get(machine_id) != said:
                self._spots.pop(machine_id, None)
                self._said[machine_id] = said
        takes = tuple(each.machine_id for each in memory.machines.values() if each.accepts_grants)
        return (takes, memory.placement.disabled, *self._said.values())

    def fit(self, memory: MasterState, machine: Machine, job_class: JobClass) -> MachineFit:
        """As of the last begin()."""
        spots = self._spots.setdefault(machine.machine_id, {})
        found = spots.get(job_class.class_id)
        if found is None:
            found = spots[job_class.class_id] = _spot(memory, machine, job_class)
        return found

    def window_state(self, hours: Hours | None, now_ms: int) -> WindowState | None:
        if hours is None:
            return None
        found = self._openings.get(hours)
        if found is None or not found.is_valid_at(now_ms):
            if len(self._openings) > 10_000:
                self._openings.clear()
            found = self._openings[hours] = compute_window_state(hours, now_ms)
        return found


def _said(memory: MasterState, machine: Machine) -> tuple[object, ...]:
    """Everything that people and the machine itself said and spots depend on."""
    overrides: tuple[object, ...] = ()
    if memory.placement.overrides:
        every = sorted(memory.placement.overrides.items())
        overrides = tuple(each for each in every if each[0][0] == machine.machine_id)
    return (
        machine.name,
        machine.rights,
        machine.policy,
        machine.zone,
        machine.capabilities,
        overrides,
    )


def _spot(memory: MasterState, machine: Machine, job_class: JobClass) -> MachineFit:
    command, ask = job_class.command, job_class.requirements
    overrides = memory.placement.active_overrides(machine.machine_id, job_class.command_id)
    site = e.EffectiveSettings(
        combined_hours(command, machine.policy, machine.zone, overrides),
        combined_limits(command, machine.policy, job_class.limits),
    )
    if site.hours is not None:
        try:
            load_zone(site.hours.zone)
        except ValueError as error:
            site = site._replace(hours_error=f"its hours cannot be told: {error}")
    plain = (
        site.hours is None
        and machine.policy.command(command.name).jobs is None
        and ask.at_most is None
        and not ask.semaphores
    )
    return MachineFit(site, e.is_permitted(ask, machine.facts(), site, _NO_MOMENT), plain)
