"""Opens the store of a run: a copy of an empty store that is migrated once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mythjobs.store.backends.sqlite import SqliteStore
from tests.simulation.disk_store import DiskStore
from tests.simulation.plan import MASTER, Plan
from tests.simulation.store import RESERVE_BYTES, CheckedStore, SimStore

_SHM: Final = Path("/dev/shm")


class StoreFactory:
    """Opens one store at a time. A store in files costs more, so only runs with faults of its disk
    have one."""

    def __init__(self) -> None:
        parent = _SHM if os.access(_SHM, os.W_OK) else None
        self._root = Path(tempfile.mkdtemp(prefix="mythjobs-simulation-", dir=parent))
        self._empty_path = self._root / "empty.db"
        SqliteStore(self._empty_path, unsafe=True, reserve_bytes=RESERVE_BYTES).close()
        self._empty = sqlite3.connect(self._empty_path)

    @contextmanager
    def open_store(self, plan: Plan) -> Iterator[CheckedStore]:
        store = self._open(plan)
        try:
            yield store
        finally:
            store.close()

    def _open(self, plan: Plan) -> CheckedStore:
        kinds = {each.kind for each in plan.faults if each.target == MASTER}
        if not kinds & {"reboot", "fsync"}:
            return SimStore(self._root / "store.db", self._empty)
        directory = self._root / "disk"
        directory.mkdir(exist_ok=True)
        shutil.copyfile(self._empty_path, directory / "store.db")
        return DiskStore(directory / "store.db")

    def close(self) -> None:
        self._empty.close()
        shutil.rmtree(self._root, ignore_errors=True)
