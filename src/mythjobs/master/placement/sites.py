"""Classes on machines, worked out once and kept until something they depend on changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mythjobs.model.machine_policy import combined_limits, hours
from mythjobs.model.window import Hours
from mythjobs.model.zone import zone_of
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.counts import Counts
from mythjobs.scheduler.window_state import Opening, opening

if TYPE_CHECKING:
    from mythjobs.master.catalog import JobClass
    from mythjobs.master.state import Machine, Memory


class Spot(NamedTuple):
    """A class on a machine. `stands`: all that people said lets it run there. `plain`: nothing
    that time or other jobs change can keep it from there, but room."""

    site: e.Site
    stands: bool
    plain: bool


_NO_MOMENT = e.Moment(0, Counts(()), {})


class Sites:
    """Derived from memory and classes alone, so it needs no draft; cleared with the book when a
    turn is rolled back, for classes that were made in it."""

    def __init__(self) -> None:
        self._said: dict[int, tuple[object, ...]] = {}
        self._spots: dict[int, dict[int, Spot]] = {}  # by machine, by class
        self._openings: dict[Hours, Opening] = {}

    def clear(self) -> None:
        self._said.clear()
        self._spots.clear()
        self._openings.clear()

    def begin(self, memory: Memory) -> tuple[object, ...]:
        """Forgets what is no longer true. Answers all that was said, to be compared with later."""
        for machine_id, machine in memory.machines.items():
            said = _said(memory, machine)
            if self._said.get(machine_id) != said:
                self._spots.pop(machine_id, None)
                self._said[machine_id] = said
        takes = tuple(each.machine_id for each in memory.machines.values() if each.takes)
        return (takes, memory.plan.disabled, *self._said.values())

    def spot(self, memory: Memory, machine: Machine, job_class: JobClass) -> Spot:
        """As of the last begin()."""
        spots = self._spots.setdefault(machine.machine_id, {})
        found = spots.get(job_class.class_id)
        if found is None:
            found = spots[job_class.class_id] = _spot(memory, machine, job_class)
        return found

    def opening(self, hours: Hours | None, now_ms: int) -> Opening | None:
        if hours is None:
            return None
        found = self._openings.get(hours)
        if found is None or not found.holds(now_ms):
            if len(self._openings) > 10_000:
                self._openings.clear()
            found = self._openings[hours] = opening(hours, now_ms)
        return found


def _said(memory: Memory, machine: Machine) -> tuple[object, ...]:
    """Everything that people and the machine itself said and spots depend on."""
    overrides: tuple[object, ...] = ()
    if memory.plan.overrides:
        every = sorted(memory.plan.overrides.items())
        overrides = tuple(each for each in every if each[0][0] == machine.machine_id)
    return machine.name, machine.rights, machine.owner, machine.zone, machine.can, overrides


def _spot(memory: Memory, machine: Machine, job_class: JobClass) -> Spot:
    command, ask = job_class.command, job_class.ask
    overrides = memory.plan.overrides_of(machine.machine_id, job_class.command_id)
    site = e.Site(
        hours(command, machine.owner, machine.zone, overrides),
        combined_limits(command, machine.owner, job_class.limits),
    )
    if site.hours is not None:
        try:
            zone_of(site.hours.zone)
        except ValueError as error:
            site = site._replace(fault=f"its hours cannot be told: {error}")
    plain = (
        site.hours is None
        and machine.owner.command(command.name).jobs is None
        and ask.at_most is None
        and not ask.semaphores
    )
    return Spot(site, e.stands(ask, machine.facts(), site, _NO_MOMENT), plain)
