"""SQLite stores with the product's SQL, whose disk can be full: in memory, or see disk_store.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import StoreFull
from mythjobs.master.attempts.restore import prepare_restored_store
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import Violation, check
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import id_recovery

_SHM: Final = Path("/dev/shm")
RESERVE_BYTES: Final = 4096


# A turn of 600 jobs takes some thousands. More statements than this are an endless loop.
_MAX_STATEMENTS: Final = 20_000


_READ_READY: Final = "SELECT job.job_id, job.ready_class"


class EndlessTurn(BaseException):
    """A transaction executed too many statements."""


class BrokenRow(Exception):
    """A row that the master cannot read: an internal error at one class of jobs."""


class _CountingCursor(sqlite3.Cursor):
    def execute(self, *args: Any) -> _CountingCursor:
        connection = self.connection
        assert isinstance(connection, _CountingConnection)
        connection.statements += 1
        if connection.statements > _MAX_STATEMENTS:
            raise EndlessTurn(f"more than {_MAX_STATEMENTS} statements; the last is {args[0]}")
        if connection.broken_class is not None and args[0].startswith(_READ_READY):
            if connection.broken_class in args[1]:
                raise BrokenRow(f"class {connection.broken_class} cannot be read")
        super().execute(*args)
        return self


class _CountingConnection(sqlite3.Connection):
    """Counts the statements of a transaction, so that a loop in a turn ends as a violation."""

    statements = 0
    broken_class: int | None = None

    def cursor(self, *_: Any) -> Any:
        return super().cursor(_CountingCursor)


class CheckedStore(SqliteStore):
    """Store with faults and checks. Its one connection also reads: the simulation has no
    concurrency."""

    def __init__(
        self, path: Path, *, unsafe: bool, reserve_bytes: int, checkpoint_bytes: int
    ) -> None:
        super().__init__(
            path, unsafe=unsafe, reserve_bytes=reserve_bytes, checkpoint_bytes=checkpoint_bytes
        )
        self.full_faults = 0  # active faults that fill the disk
        self.failing_faults = 0  # active faults that make each sync fail
        self._is_full = False  # since a write failed
        self._checked_changes = -1

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        changes = self._writer.total_changes
        with super().transaction() as tx:
            yield tx
            if self.full_faults and self._writer.total_changes != changes:
                self._is_full = True
                raise StoreFull("the disk of the store is full")

    @contextmanager
    def snapshot(self, *, long: bool = False) -> Iterator[Transaction]:
        assert not self._writer.in_transaction, "snapshot opened within a turn"
        yield Transaction(self._writer.cursor(), self._dialect)

    def has_free_space(self) -> bool:
        self._is_full = self._is_full and bool(self.full_faults)
        return not self._is_full

    def has_changed(self) -> bool:
        """Whether anything was written since the last check."""
        return self._writer.total_changes != self._checked_changes

    def find_violations(self, job_ids: Sequence[int] | None) -> list[Violation]:
        """Check the invariants of these jobs if anything was written since the last check.

        None: check the whole store in any case.
        """
        changes = self._writer.total_changes
        if job_ids is not None and changes == self._checked_changes:
            return []
        self._checked_changes = changes
        with self.snapshot() as tx:
            return check(tx, job_ids)

    # Faults that only one kind of store has.

    was_cut = False

    @property
    def is_open(self) -> bool:
        return True

    def back_up(self) -> bool:
        """Copy the store; return whether that is possible."""
        return False

    def restore(self, now: Now, *, is_known: bool) -> None:
        """Replace the store by the copy, and prepare it.

        is_known: whether the ids that the replaced store has issued can be read.
        """

    def break_class(self, class_id: int | None) -> None:
        """Make reads of the ready jobs of this class fail; None ends that."""

    def cut_power(self, random: Random | None) -> None:
        """Lose what is not synced: nothing, or with `random` only a part."""

    def reopen_if_failed(self) -> None:
        """Open the store again after an error or a power cut. Raises StoreFailed, StoreFull."""


class SimStore(CheckedStore):
    """Copy of an empty store in memory."""

    def __init__(self, path: Path, empty: sqlite3.Connection) -> None:
        self._empty = empty
        self._copy: sqlite3.Connection | None = None
        super().__init__(path, unsafe=True, reserve_bytes=RESERVE_BYTES, checkpoint_bytes=2**40)

    def _open_writer(self) -> sqlite3.Connection:
        writer = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=256, factory=_CountingConnection
        )
        self._empty.backup(writer)
        for pragma in ("foreign_keys = OFF", "temp_store = MEMORY"):
            writer.execute(f"PRAGMA {pragma}").fetchall()
        return writer

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self._writer.statements = 0  # type: ignore[attr-defined]
        with super().transaction() as tx:
            yield tx

    @contextmanager
    def snapshot(self, *, long: bool = False) -> Iterator[Transaction]:
        self._writer.statements = 0  # type: ignore[attr-defined]
        with super().snapshot() as tx:
            yield tx

    def back_up(self) -> bool:
        self._copy = sqlite3.connect(":memory:")
        self._writer.backup(self._copy)
        return True

    def restore(self, now: Now, *, is_known: bool) -> None:
        assert self._copy is not None
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as replaced:
            self._writer.backup(replaced)
            self._copy.backup(self._writer)
            self._checked_changes = -1
            used = Transaction(replaced.cursor(), self._dialect)
            ids = id_recovery.read_restored_ids(used) if is_known else None
            self.run_transaction(lambda tx: prepare_restored_store(tx, now, ids))

    def checkpoint(self, *, least_bytes: int | None = None) -> None:
        """Do nothing: an in-memory store has no write-ahead log."""

    def break_class(self, class_id: int | None) -> None:
        self._writer.broken_class = class_id  # type: ignore[attr-defined]
