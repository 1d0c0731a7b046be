"""Requests of simulated users, each sent again until there is a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mythjobs.errors import Conflict, NoSuchMachine, StoreFull, StoreUnavailable
from mythjobs.master import requests
from tests.simulation.master import SimMaster
from tests.simulation.simulator import Simulator

_RETRY_MS: Final = 5000
_MAX_RETRY_MS: Final = 60_000
# The user tries again: the disk is full, the machine has not joined, or is not silent yet.
_PASSING_ERRORS: Final = StoreFull | StoreUnavailable | NoSuchMachine
# Requests whose `name` is a machine's.
_OF_MACHINES: Final = (
    requests.EditMachine,
    requests.SetMachine,
    requests.ControlMachine,
    requests.OverrideHours,
    requests.DeclareDead,
    requests.RenameMachine,
    requests.RevokeMachine,
)


@dataclass
class Transmission:
    """One transmission of a request. It is the callback of the response, too, so that the cluster
    can see in a committed turn to which request a response belongs."""

    request: requests.Request
    on_response: Callable[[Any], None]

    def __call__(self, response: Any) -> None:
        self.on_response(response)


class SentRequest:
    """One request of a user.

    on_response: called with (response, is_first) for each response. A late response to an earlier
    transmission must not contradict the first one. names: current names of machines, by those
    that plans use.
    """

    def __init__(
        self,
        sim: Simulator,
        master: SimMaster,
        request: requests.Request,
        on_response: Callable[[Any, bool], None],
        names: Mapping[str, str],
    ) -> None:
        self._request = request
        self._names = names
        self._sim = sim
        self._master = master
        self._on_response = on_response
        self._is_sent = self._is_answered = False
        self._retry_ms = _RETRY_MS
        self._send()

    def _handle_response(self, response: Any) -> None:
        is_conflict = isinstance(response, Conflict) and self._waits_for_conflict
        is_passing = isinstance(response, _PASSING_ERRORS) and not self._is_done_by(response)
        if is_passing or is_conflict or self._is_answered:
            if isinstance(response, NoSuchMachine):
                # It may join only after many minutes.
                self._retry_ms = min(2 * self._retry_ms, _MAX_RETRY_MS)
            self._on_response(response, False)
            return
        self._is_answered = True
        self._on_response(response, True)

    @property
    def _waits_for_conflict(self) -> bool:
        """A machine counts as connected until the master has missed its heartbeats."""
        return isinstance(self._request, requests.DeclareDead)

    def _is_done_by(self, error: Any) -> bool:
        """Return whether an error says that an earlier transmission has revoked the machine."""
        return isinstance(error, NoSuchMachine) and isinstance(
            self._request, requests.RevokeMachine
        )

    def _send(self) -> None:
        if self._is_answered:
            return
        if self._is_sent:
            self._sim.count("requests sent again")
        self._is_sent = True
        request = self._request
        if isinstance(request, _OF_MACHINES) and request.name in self._names:
            request = msgspec.structs.replace(request, name=self._names[request.name])
        self._master.send_request(request, Transmission(request, self._handle_response))
        self._sim.call_later(self._retry_ms, self._send)
