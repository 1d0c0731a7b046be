"""Terms checker: a machine that answers heartbeats knows the hours and limits that users have set.

Frames of a connection arrive in order. So the answer to a heartbeat that a machine has sent after a
change was committed arrives after the messages about the change. No code of the scheduler is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from mythjobs.master import requests
from tests.simulation.configuration import Configuration
from tests.simulation.hours_oracle import ObservedHours
from tests.simulation.plan import MASTER, Plan
from tests.simulation.program import Key
from tests.simulation.queue_view import QueueView
from tests.simulation.simulator import Simulator

if TYPE_CHECKING:
    from tests.simulation.safety_checker import ObservedMachine, SafetyChecker

# Requests that may change the hours and limits of running jobs, or that lose a machine's settings.
TERM_CHANGES: Final = (
    requests.EditMachine,
    requests.SetMachine,
    requests.OverrideHours,
    requests.RevokeMachine,
    requests.ApproveMachine,
)
# An override that ends within this time may count or not.
_MARGIN_MS: Final = 5000
_UNITS_S: Final = {"s": 1, "m": 60}


class TermsChecker:
    def __init__(
        self,
        sim: Simulator,
        plan: Plan,
        configuration: Configuration,
        view: QueueView,
        checker: SafetyChecker,
    ) -> None:
        self._sim = sim
        self._configuration = configuration
        self._view = view
        self._checker = checker
        self._changed_ms = 0
        # A class whose rows cannot be read keeps its terms. After a step of the master's clock it
        # is not known which overrides it has removed.
        kinds = {each.kind for each in plan.faults if each.target == MASTER}
        # The view has the limits that jobs were submitted with.
        self._has_job_limits = any(
            each.action == "set" and "limits" in each.arguments for each in plan.work
        )
        self._is_checking = not kinds & {"row", "wall"}

    def on_change(self) -> None:
        """A change of settings, definitions or overrides was committed."""
        self._changed_ms = self._sim.now_ms

    def on_renewal(
        self, machine: ObservedMachine, sent_ms: int, keys: Collection[Key], wall_ms: int
    ) -> None:
        """The master answered a heartbeat, sent at this simulated time, and renewed these attempts.

        wall_ms: the master's wall clock now.
        """
        if not self._is_checking or sent_ms < self._changed_ms:
            return
        for key in keys:
            self._check_hours(machine, key, wall_ms)
            if not self._has_job_limits:
                self._check_limit(machine, key)

    def _check_hours(self, machine: ObservedMachine, key: Key, wall_ms: int) -> None:
        sets = self._hour_sets(machine, key)
        if sets is None:
            return
        command = self._view.jobs[key[0]].command
        told = self._checker.hours.told_hours(machine, key)
        known = told.overrides if told is not None else ()
        name = self._configuration.current_name(machine.name)
        current = self._view.overrides(name, command, wall_ms)
        is_told = (told is not None and any(told.sets)) == any(sets)
        if told is not None and any(sets):
            is_told = told.sets == sets and self._has_zone(machine, told)
        if not is_told or _lasting(known, wall_ms) != _lasting(current, wall_ms):
            text = f"{machine.name} knows {told} for {key}; it is {sets} with {current}"
            self._sim.report_violation("TERMS", text)

    def _has_zone(self, machine: ObservedMachine, told: ObservedHours) -> bool:
        name = self._configuration.current_name(machine.name)
        zone: str = self._configuration.settings(name).get("zone", "UTC")
        return told.zone == zone

    def _hour_sets(self, machine: ObservedMachine, key: Key) -> tuple[tuple[str, ...], ...] | None:
        tables = self._tables(machine, key)
        if tables is None:
            return None
        return tuple(tuple(each.get("windows", {}).get("open", ())) for each in tables)

    def _tables(
        self, machine: ObservedMachine, key: Key
    ) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]] | None:
        """Return what a job's command, its machine, and its machine for the command say."""
        job = self._view.jobs.get(key[0])
        if job is None:
            return None
        name = self._configuration.current_name(machine.name)
        return (
            self._configuration.definition(job.command, job.revision),
            self._configuration.settings(name),
            self._configuration.settings_for_command(name, job.command),
        )

    def _check_limit(self, machine: ObservedMachine, key: Key) -> None:
        tables = self._tables(machine, key)
        if tables is None:
            return
        limits = [each.get("limits", {}) for each in tables]
        limits.append(self._view.jobs[key[0]].limits)
        walls_s = [_read_s(each["wall"]) for each in limits if "wall" in each]
        told_s = self._checker.limits.told_wall_s(machine, key)
        if told_s != min(walls_s, default=None):
            text = f"{machine.name} knows a wall limit of {told_s} s for {key}; the limits are"
            self._sim.report_violation("TERMS", f"{text} {walls_s}")


def _lasting(overrides: Collection[tuple[str, int]], wall_ms: int) -> set[tuple[str, int]]:
    return {each for each in overrides if each[1] > wall_ms + _MARGIN_MS}


def _read_s(duration: str) -> int:
    return int(duration[:-1]) * _UNITS_S[duration[-1]]
