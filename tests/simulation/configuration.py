"""What the users have configured: commands, machine settings, semaphores, as of the last commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.machine import Machine
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.protocol.requests import DefineResult

Table = Mapping[str, Any]

# What a machine may do before its settings are stored: it is the master's own, with two cores.
_CORES: Final = 2
_NEW_MACHINE: Final[Table] = {"allow": "all", "jobs": _CORES}
_UNDEFINED: Final[Table] = {}
_REVOKED: Final[Table] = {"allow": []}


def is_revoked_name(machine: str) -> bool:
    """Return whether this is the name that a revoked machine gets."""
    return "(revoked" in machine


# All that is configured.
Saved = tuple[dict[Any, Any], ...]


class Configuration:
    """Follows the requests that the master has answered and committed. `changes` counts them."""

    def __init__(self) -> None:
        self.semaphores: dict[str, int] = {}
        self.changes = 0
        self._settings: dict[str, Table] = {}
        self._definitions: dict[tuple[str, int], Table] = {}
        self._current: dict[str, Table] = {}
        self._controls: dict[str, MachineControl] = {}
        # Current names of machines that were renamed, by their names in the plan.
        self.names: dict[str, str] = {}

    def save(self) -> Saved:
        """Return what is configured now, for load()."""
        return tuple(each.copy() for each in self._tables)

    def load(self, saved: Saved) -> None:
        for table, before in zip(self._tables, saved, strict=True):
            table.clear()
            table.update(before)
        self.changes += 1

    @property
    def _tables(self) -> Saved:
        tables = self.semaphores, self._settings, self._definitions, self._current
        return *tables, self._controls, self.names

    def apply(self, request: requests.Request, response: object) -> None:
        """Apply a request that was committed with this response."""
        if isinstance(response, MythJobsError):
            return
        before = (
            self._settings.copy(),
            self.semaphores.copy(),
            self._current.copy(),
            self.names.copy(),
        )
        match request:
            case requests.EditMachine(name=name, settings=settings):
                self._settings[name] = settings
            case requests.RenameMachine(name=name, new_name=new_name):
                self._rename(name, new_name)
            case requests.RevokeMachine(name=name):
                self._settings.pop(name, None)
                self._controls.pop(name, None)
                self.names.pop(self._plan_name(name), None)
            case requests.ApproveMachine(name=name):
                assert isinstance(response, requests.JoinedMachine)
                self.names[name] = response.name
            case requests.SetMachine(name=name):
                self._settings[name] = _change_settings(self.settings(name), request)
            case requests.ControlMachine(name=name, action="resume"):
                self._controls.pop(name, None)
            case requests.ControlMachine(name=name, action=action, until_ms=until_ms):
                known = self._controls.get(name, NO_CONTROL)
                drained = MachineControl(True, known.is_paused, known.until_ms)
                paused = MachineControl(known.is_drained, True, until_ms)
                self._controls[name] = drained if action == "drain" else paused
            case requests.SetSemaphore(name=name, size=size):
                self.semaphores[name] = size or 0
            case requests.DefineCommand(definition=definition):
                assert isinstance(response, DefineResult)
                self._definitions[response.name, response.revision] = definition
                self._current[response.name] = definition
        self.changes += before != (self._settings, self.semaphores, self._current, self.names)

    def read_control(self, machine: Machine) -> None:
        """Trust the master after a turn whose commit failed: it may be stored, or not."""
        self._controls[machine.name] = machine.control

    def _rename(self, name: str, new_name: str) -> None:
        self.names[self._plan_name(name)] = new_name
        if name in self._settings:
            self._settings[new_name] = self._settings.pop(name)
        if name in self._controls:
            self._controls[new_name] = self._controls.pop(name)

    def _plan_name(self, name: str) -> str:
        """Return the name in the plan of a machine with this current name."""
        return next((each for each, current in self.names.items() if current == name), name)

    def current_name(self, name: str) -> str:
        """Return the current name of a machine with this name in the plan."""
        return self.names.get(name, name)

    def accepts_jobs(self, machine: str, wall_ms: int) -> bool:
        """Return whether a machine is neither drained nor paused. wall_ms: the master's clock."""
        control = self._controls.get(machine, NO_CONTROL)
        if control.until_ms is not None and control.until_ms <= wall_ms:
            # The pause does not come back if the clock is set back.
            control = self._controls[machine] = MachineControl(control.is_drained)
        return not (control.is_drained or control.is_paused)

    def settings(self, machine: str) -> Table:
        if is_revoked_name(machine):
            return _REVOKED
        return self._settings.get(machine, _NEW_MACHINE)

    def settings_for_command(self, machine: str, command: str) -> Table:
        """Return the machine's settings for one command."""
        found: Table = self.settings(machine).get("commands", {}).get(command, _UNDEFINED)
        return found

    def definition(self, command: str, revision: int) -> Table:
        """Return the definition that a job was submitted with."""
        return self._definitions.get((command, revision), _UNDEFINED)

    def current_definition(self, command: str) -> Table:
        return self._current.get(command, _UNDEFINED)


def _change_settings(settings: Table, request: requests.SetMachine) -> Table:
    """Return settings of a machine after a change of some of them."""
    changed = dict(settings)
    labels = {*settings.get("labels", ()), *request.labels} - {*request.no_labels}
    changed["labels"] = sorted(labels)
    if request.zone is not None:
        changed["zone"] = request.zone
    if request.allow == "all":
        changed["allow"] = "all"
    changed["allow"] = _change_rights(changed.get("allow", []), request)
    if request.jobs is None:
        return changed
    jobs = _CORES if request.jobs == "auto" else request.jobs
    if request.command is None:
        return changed | {"jobs": jobs}
    commands = dict(settings.get("commands", {}))
    own = {**commands.get(request.command, {}), "jobs": jobs}
    if request.jobs == "auto":
        del own["jobs"]
    return changed | {"commands": commands | {request.command: own}}


def _change_rights(allow: Any, request: requests.SetMachine) -> Any:
    more = {*request.allow} if isinstance(request.allow, list) else set()
    less = {*(request.deny or ())}
    if isinstance(allow, list):
        return sorted({*allow, *more} - less)
    excepted = {*(() if allow == "all" else allow["except"])} - more | less
    return {"except": sorted(excepted)} if excepted else "all"
