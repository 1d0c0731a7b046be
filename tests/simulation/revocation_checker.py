"""Revocation checker: a machine whose key was revoked is disconnected, and stays so."""

from __future__ import annotations

from typing import Final

from mythjobs.master.state import MasterState
from tests.simulation.configuration import is_revoked_name
from tests.simulation.simulator import Simulator

# From the commit to the close of the connection.
_TOLERANCE_MS: Final = 2000


class RevocationChecker:
    """`check` is called after each turn."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._connected_ms: dict[str, int] = {}  # revoked machines, since when each is connected

    def check(self, state: MasterState) -> None:
        connected = {
            each.name
            for each in state.machines.values()
            if each.connection is not None and is_revoked_name(each.name)
        }
        for name in self._connected_ms.keys() - connected:
            del self._connected_ms[name]
        for name in connected:
            if self._sim.now_ms - self._connected_ms.setdefault(name, self._sim.now_ms) > (
                _TOLERANCE_MS
            ):
                self._sim.report_violation("REVOKED", f"{name} is connected")
