"""Requests of simulated users, each sent again until there is a response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mythjobs.errors import Conflict, NoSuchMachine, StoreFull, StoreUnavailable
from mythjobs.master import requests
from tests.simulation.master import SimMaster
from tests.simulation.simulator import Simulator

_RETRY_MS: Final = 5000
# The user tries again: the disk is full, the machine has not joined, or is not silent yet.
_PASSING_ERRORS: Final = StoreFull | StoreUnavailable | NoSuchMachine


class SentRequest:
    """One request of a user. It is the callback of the response, too, so that the cluster can see
    in a committed turn to which request a response belongs.

    on_response: called with (response, is_first) for each response. A late response to an earlier
    transmission must not contradict the first one.
    """

    def __init__(
        self,
        sim: Simulator,
        master: SimMaster,
        request: requests.Request,
        on_response: Callable[[Any, bool], None],
    ) -> None:
        self.request = request
        self._sim = sim
        self._master = master
        self._on_response = on_response
        self._is_sent = self._is_answered = False
        self._send()

    def __call__(self, response: Any) -> None:
        is_conflict = isinstance(response, Conflict) and self._waits_for_conflict
        if isinstance(response, _PASSING_ERRORS) or is_conflict or self._is_answered:
            self._on_response(response, False)
            return
        self._is_answered = True
        self._on_response(response, True)

    @property
    def _waits_for_conflict(self) -> bool:
        """A machine counts as connected until the master has missed its heartbeats."""
        return isinstance(self.request, requests.DeclareDead)

    def _send(self) -> None:
        if self._is_answered:
            return
        if self._is_sent:
            self._sim.count("requests sent again")
        self._is_sent = True
        self._master.send_request(self.request, self)
        self._sim.call_later(_RETRY_MS, self._send)
