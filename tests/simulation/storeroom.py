"""A real SQLite store in memory, whose disk can be full."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mythjobs.errors import StoreFull
from mythjobs.store.check import Violation, check
from mythjobs.store.sqlite import SqliteStore
from mythjobs.store.statement import Transaction

_SHM: Final = Path("/dev/shm")
_RESERVE_BYTES: Final = 4096


class SimStore(SqliteStore):
    def __init__(self, path: Path) -> None:
        super().__init__(path, unsafe=True, reserve_bytes=_RESERVE_BYTES)
        # Durability is not what is simulated here: a commit is what was committed.
        self._writer.execute("PRAGMA synchronous = OFF")
        self.filled = 0  # how many faults fill it now
        self._noticed = False
        self._checked = -1

    @contextmanager
    def turn(self) -> Iterator[Transaction]:
        before = self._writer.total_changes
        with super().turn() as tx:
            yield tx
            if self.filled and self._writer.total_changes != before:
                self._noticed = True
                raise StoreFull("the disk of the store is full")

    def has_room(self) -> bool:
        self._noticed = self._noticed and bool(self.filled)
        return not self._noticed

    def checkpoint(self, *, least_bytes: int = 0) -> None:
        """It is small, and gone soon."""

    def broken(self, jobs: list[int] | None) -> list[Violation]:
        """What is not as promised in what is committed, if anything was since the last time."""
        changes = self._writer.total_changes
        if jobs is not None and changes == self._checked:
            return []
        self._checked = changes
        with self.reading() as tx:
            return check(tx, jobs)


class Storeroom:
    """Stores one after the other, each a copy of an empty one."""

    def __init__(self) -> None:
        where = _SHM if os.access(_SHM, os.W_OK) else None
        self._root = Path(tempfile.mkdtemp(prefix="mythjobs-simulation-", dir=where))
        self._empty = self._root / "empty.db"
        SimStore(self._empty).close()

    @contextmanager
    def store(self) -> Iterator[SimStore]:
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            shutil.copyfile(self._empty, folder / "store.db")
            store = SimStore(folder / "store.db")
            try:
                yield store
            finally:
                store.close()
        finally:
            shutil.rmtree(folder)

    def close(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
