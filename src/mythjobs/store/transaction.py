"""What both kinds of store promise: one transaction a turn, snapshots beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeVar

from mythjobs.store.statement import Transaction

T = TypeVar("T")

_MOST_TRIES: Final = 6


def without_password(where: str) -> str:
    """A path or URL as people and logs may see it. A password may stand before the host, or among
    the parameters."""
    scheme, found, rest = where.partition("://")
    if not found:
        return where
    place, mark, query = rest.partition("?")
    name, at, host = place.rpartition("@")
    shown = [each for each in query.split("&") if not each.startswith(("password=", "passfile="))]
    return f"{scheme}://{name.partition(':')[0]}{at}{host}{mark}{'&'.join(shown)}"


class Again(Exception):
    """The transaction met another (deadlock, serialization); rolled back, it may run again."""


class Store(ABC):
    """`turn()` and `transact()` are for the one thread that writes, `reading()` for any other."""

    @abstractmethod
    def turn(self) -> AbstractContextManager[Transaction]:
        """One transaction on the writing connection: committed at the end, durable after it.

        Any exception rolls all of it back. Raises StoreFull if there is no room, StoreAway if
        the store cannot be reached (nothing was committed then), StoreFailed if it failed, and
        Taken if another master has it now: then nothing may be acknowledged any more, and the
        process ends.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Transaction]:
        """A snapshot for lists and pages, on a connection of its own that cannot write."""

    def transact(self, body: Callable[[Transaction], T]) -> tuple[T, list[int]]:
        """What `body` returns, and the batches that became over, after a commit.

        Where two transactions met, `body` runs again, at most five times.
        """
        for tries in range(1, _MOST_TRIES + 1):
            try:
                with self.turn() as tx:
                    result = body(tx)
                return result, tx.completed
            except Again:
                if tries == _MOST_TRIES:
                    raise
        raise AssertionError("unreachable")

    def has_room(self) -> bool:
        """Whether what lets the store grow may come in. Looks again if it could not before."""
        return True

    def checkpoint(self) -> None:  # noqa: B027 - most stores do this by themselves
        """Does what the store's own upkeep needs, when a turn has just ended."""

    @abstractmethod
    def close(self) -> None: ...
