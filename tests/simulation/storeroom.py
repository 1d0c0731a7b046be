"""A real SQLite store in memory, whose disk can be full."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mythjobs.errors import StoreFull
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import Violation, check
from mythjobs.store.transaction import Transaction

_SHM: Final = Path("/dev/shm")
_RESERVE_BYTES: Final = 4096


class SimStore(SqliteStore):
    """A copy of an empty store. Its one connection also reads: nothing here happens at once."""

    def __init__(self, path: Path, empty: sqlite3.Connection) -> None:
        self._empty = empty
        super().__init__(path, unsafe=True, reserve_bytes=_RESERVE_BYTES)
        self.filled = 0  # how many faults fill it now
        self._noticed = False
        self._checked = -1

    def _open_writer(self) -> sqlite3.Connection:
        writer = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self._empty.backup(writer)
        for pragma in ("foreign_keys = OFF", "temp_store = MEMORY"):
            writer.execute(f"PRAGMA {pragma}").fetchall()
        return writer

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        before = self._writer.total_changes
        with super().transaction() as tx:
            yield tx
            if self.filled and self._writer.total_changes != before:
                self._noticed = True
                raise StoreFull("the disk of the store is full")

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        assert not self._writer.in_transaction, "nothing reads in the middle of a turn"
        yield Transaction(self._writer.cursor(), self._dialect)

    def has_free_space(self) -> bool:
        self._noticed = self._noticed and bool(self.filled)
        return not self._noticed

    def checkpoint(self, *, least_bytes: int | None = None) -> None:
        """It is small, and gone soon."""

    def broken(self, jobs: Sequence[int] | None) -> list[Violation]:
        """What is not as promised in what is committed, if anything was since the last time."""
        changes = self._writer.total_changes
        if jobs is not None and changes == self._checked:
            return []
        self._checked = changes
        with self.snapshot() as tx:
            return check(tx, jobs)


class Storeroom:
    """Stores one after the other, each a copy of an empty one that is migrated once."""

    def __init__(self) -> None:
        where = _SHM if os.access(_SHM, os.W_OK) else None
        self._root = Path(tempfile.mkdtemp(prefix="mythjobs-simulation-", dir=where))
        SqliteStore(self._root / "empty.db", unsafe=True, reserve_bytes=_RESERVE_BYTES).close()
        self._empty = sqlite3.connect(self._root / "empty.db")

    @contextmanager
    def store(self) -> Iterator[SimStore]:
        store = SimStore(self._root / "store.db", self._empty)
        try:
            yield store
        finally:
            store.close()

    def close(self) -> None:
        self._empty.close()
        shutil.rmtree(self._root, ignore_errors=True)
