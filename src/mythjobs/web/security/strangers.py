"""Limit on connections to the network port that have not identified themselves yet."""

from __future__ import annotations

from collections import Counter
from typing import Final

MAX_STRANGERS: Final = 64
MAX_STRANGERS_PER_ADDRESS: Final = 8


class Strangers:
    """Counts unidentified connections by address, so that they cannot use up all descriptors."""

    def __init__(self, most_per_address: int = MAX_STRANGERS_PER_ADDRESS) -> None:
        self._most_per_address = most_per_address
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a new connection; False if it must be closed because there are too many."""
        if self._by_address.total() >= MAX_STRANGERS:
            return False
        if self._by_address[address] >= self._most_per_address:
            return False
        self._by_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Count a connection no longer: it has identified itself, or was closed."""
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]
