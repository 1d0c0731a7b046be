"""Transaction, and the interface Store that the SQLite and PostgreSQL backends implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from sqlalchemy.engine import Dialect

T = TypeVar("T")

_MAX_TRIES: Final = 6


def redact_password(where: str) -> str:
    """Return a path or URL without its password, for logs and messages.

    A URL can have a password before the host or among the parameters.
    """
    scheme, separator, rest = where.partition("://")
    if not separator:
        return where
    location, mark, query = rest.partition("?")
    user, at, host = location.rpartition("@")
    shown = [each for each in query.split("&") if not each.startswith(("password=", "passfile="))]
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{mark}{'&'.join(shown)}"


class Transaction:
    """One open transaction: the driver's cursor, and counter changes to write before the commit.

    job_count_changes: changes of the number of jobs by (command id, state). batch_count_changes:
    by (batch id, final state). counters.py writes both once per transaction, and returns the ids
    of the batches whose last job has ended, which are stored in `completed_batches`.
    """

    __slots__ = (
        "batch_count_changes",
        "completed_batches",
        "cursor",
        "dialect",
        "job_count_changes",
        "output_changes",
    )

    def __init__(self, cursor: Any, dialect: Dialect) -> None:
        self.cursor = cursor
        self.dialect = dialect
        self.job_count_changes: Counter[tuple[int, str]] = Counter()
        self.batch_count_changes: Counter[tuple[int, str]] = Counter()
        self.output_changes: Counter[int] = Counter()
        self.completed_batches: list[int] = []


class RetryTransaction(Exception):
    """A deadlock or serialization failure rolled back the transaction, which may be run again."""


class Store(ABC):
    """Interface of a store.

    transaction() and run_transaction() are only for the one writing thread, snapshot() for any
    thread.
    """

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Return a context manager for one transaction on the writing connection.

        The transaction is durably committed when the block ends; any exception rolls it back.
        Raises StoreFull if the disk is full, StoreUnavailable if the store cannot be reached (then
        nothing was committed), StoreFailed if the store failed, and AlreadyRunning if another
        master uses the store. After StoreFailed and AlreadyRunning the master must not acknowledge
        anything any more, and must exit.
        """

    @abstractmethod
    def snapshot(self, *, long: bool = False) -> AbstractContextManager[Transaction]:
        """Return a context manager for queries on a consistent snapshot, on a separate connection.

        long: statements in the snapshot may take minutes. interrupt_long_snapshots() ends them.
        """

    @abstractmethod
    def interrupt_long_snapshots(self) -> None:
        """Let the statements of all long snapshots fail, for close(); called in any thread."""

    def run_transaction(self, body: Callable[[Transaction], T]) -> tuple[T, list[int]]:
        """Run `body` in a transaction; return its result, and the ids of batches whose last
        job ended in it.

        After a deadlock or serialization failure `body` is repeated, at most five times.
        """
        for tries in range(1, _MAX_TRIES + 1):
            try:
                with self.transaction() as tx:
                    result = body(tx)
                return result, tx.completed_batches
            except RetryTransaction:
                if tries == _MAX_TRIES:
                    raise
        raise AssertionError("unreachable")

    def has_free_space(self) -> bool:
        """Return whether the disk has space for requests that add data to the store.

        After the disk was full, each call checks the disk again.
        """
        return True

    def describe_full_disk(self) -> str:
        """Return that the disk was full when has_free_space() was called last, or ""."""
        return ""

    def checkpoint(self) -> None:  # noqa: B027 - PostgreSQL does this by itself
        """Do the store's own maintenance (say, a WAL checkpoint); called after each transaction."""

    @abstractmethod
    def close(self) -> None: ...
