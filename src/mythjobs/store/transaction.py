"""What both kinds of store promise: one transaction a turn, snapshots beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from sqlalchemy.engine import Dialect

T = TypeVar("T")

_MOST_TRIES: Final = 6


def redact_password(where: str) -> str:
    """A path or URL as people and logs may see it. A password may stand before the host, or among
    the parameters."""
    scheme, found, rest = where.partition("://")
    if not found:
        return where
    place, mark, query = rest.partition("?")
    name, at, host = place.rpartition("@")
    shown = [each for each in query.split("&") if not each.startswith(("password=", "passfile="))]
    return f"{scheme}://{name.partition(':')[0]}{at}{host}{mark}{'&'.join(shown)}"


class Transaction:
    """One open transaction: the driver's cursor, and what must be added up before its commit.

    `tally` counts jobs by (command, state) and `over` those of a batch by (batch, state);
    totals.py writes both once per transaction. `completed` are the batches that became over.
    """

    __slots__ = (
        "batch_count_changes",
        "completed_batches",
        "cursor",
        "dialect",
        "job_count_changes",
    )

    def __init__(self, cursor: Any, dialect: Dialect) -> None:
        self.cursor = cursor
        self.dialect = dialect
        self.job_count_changes: Counter[tuple[int, str]] = Counter()
        self.batch_count_changes: Counter[tuple[int, str]] = Counter()
        self.completed_batches: list[int] = []


class RetryTransaction(Exception):
    """The transaction met another (deadlock, serialization); rolled back, it may run again."""


class Store(ABC):
    """`turn()` and `transact()` are for the one thread that writes, `reading()` for any other."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """One transaction on the writing connection: committed at the end, durable after it.

        Any exception rolls all of it back. Raises StoreFull if there is no room, StoreAway if
        the store cannot be reached (nothing was committed then), StoreFailed if it failed, and
        Taken if another master has it now: then nothing may be acknowledged any more, and the
        process ends.
        """

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Transaction]:
        """A snapshot for lists and pages, on a connection of its own that cannot write."""

    def run_transaction(self, body: Callable[[Transaction], T]) -> tuple[T, list[int]]:
        """What `body` returns, and the batches that became over, after a commit.

        Where two transactions met, `body` runs again, at most five times.
        """
        for tries in range(1, _MOST_TRIES + 1):
            try:
                with self.transaction() as tx:
                    result = body(tx)
                return result, tx.completed_batches
            except RetryTransaction:
                if tries == _MOST_TRIES:
                    raise
        raise AssertionError("unreachable")

    def has_free_space(self) -> bool:
        """Whether what lets the store grow may come in. Looks again if it could not before."""
        return True

    def checkpoint(self) -> None:  # noqa: B027 - most stores do this by themselves
        """Does what the store's own upkeep needs, when a turn has just ended."""

    @abstractmethod
    def close(self) -> None: ...
