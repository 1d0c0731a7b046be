"""SQLite store in files on a simulated disk, for runs with power cuts and failing disks."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random
from typing import Final

from mythjobs.errors import StoreFailed
from mythjobs.store.backends.sqlite import SqliteStore
from tests.simulation.sqlite_disk import sqlite_disk
from tests.simulation.store import RESERVE_BYTES, CheckedStore

# Small, so that checkpoints are frequent.
_CHECKPOINT_BYTES: Final = 200_000


class DiskStore(CheckedStore):
    """The real store. It is opened again after the process of the master has ended.

    was_cut: the power was cut, so the store must have exactly what was committed.
    """

    def __init__(self, path: Path) -> None:
        self._disk = sqlite_disk()
        self.failing_faults = 0
        self._disk.track(path.parent, self._is_failing)
        self.was_cut = False
        self._needs_reopening = False
        super().__init__(
            path, unsafe=True, reserve_bytes=RESERVE_BYTES, checkpoint_bytes=_CHECKPOINT_BYTES
        )

    def _open_writer(self) -> sqlite3.Connection:
        has_log = self._wal.read_file_bytes() > 0
        if has_log and self._is_failing():
            raise StoreFailed("cannot write the log: the disk fails")
        writer = super()._open_writer()
        if has_log:
            # It was rewritten and synced, not by SQLite.
            self._disk.mark_synced(Path(f"{self._path}-wal"))
        return writer

    def _is_failing(self) -> bool:
        return self.failing_faults > 0

    @property
    def is_open(self) -> bool:
        return not self._needs_reopening

    def cut_power(self, random: Random | None) -> None:
        self._close_without_trace(self._disk.cut_power(random))
        self.was_cut = True

    def reopen_if_failed(self) -> None:
        """Open the store again after an error or a power cut. Raises StoreFailed, StoreFull."""
        if self._failure is not None and not self._needs_reopening:
            self._close_without_trace(self._disk.read_contents())
            self.was_cut = False
        if self._needs_reopening:
            SqliteStore.__init__(
                self, self._path, unsafe=True, reserve_bytes=RESERVE_BYTES,
                checkpoint_bytes=_CHECKPOINT_BYTES,
            )  # fmt: skip
            self._checked_changes = -1
            self._needs_reopening = False

    def _close_without_trace(self, contents: dict[Path, bytes]) -> None:
        """End of the process: a connection that is closed would write to the files."""
        self._writer.close()
        self._disk.restore(contents)
        self._needs_reopening = True

    def close(self) -> None:
        self._writer.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()
