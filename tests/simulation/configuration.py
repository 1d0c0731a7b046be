"""What the users have configured: commands, machine settings, semaphores, as of the last commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.protocol.requests import DefineResult

Table = Mapping[str, Any]

# What a machine may do before its settings are stored: it is the master's own, with two cores.
_NEW_MACHINE: Final[Table] = {"allow": "all", "jobs": 2}
_UNDEFINED: Final[Table] = {}


class Configuration:
    """Follows the requests that the master has answered and committed. `changes` counts them."""

    def __init__(self) -> None:
        self.semaphores: dict[str, int] = {}
        self.changes = 0
        self._settings: dict[str, Table] = {}
        self._definitions: dict[tuple[str, int], Table] = {}
        self._current: dict[str, Table] = {}

    def apply(self, request: requests.Request, response: object) -> None:
        """Apply a request that was committed with this response."""
        if isinstance(response, MythJobsError):
            return
        before = self._settings.copy(), self.semaphores.copy(), self._current.copy()
        match request:
            case requests.EditMachine(name=name, settings=settings):
                self._settings[name] = settings
            case requests.SetSemaphore(name=name, size=size):
                self.semaphores[name] = size or 0
            case requests.DefineCommand(definition=definition):
                assert isinstance(response, DefineResult)
                self._definitions[response.name, response.revision] = definition
                self._current[response.name] = definition
        self.changes += before != (self._settings, self.semaphores, self._current)

    def settings(self, machine: str) -> Table:
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
