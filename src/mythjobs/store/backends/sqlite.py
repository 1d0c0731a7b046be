"""A store in a SQLite file: one connection that writes and checkpoints, others that only read."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mythjobs.errors import ConfigError, StateNotWritable, StoreFailed, StoreFull
from mythjobs.store.backends.disk import DiskReserve, find_network_file_system
from mythjobs.store.migrate import migrate
from mythjobs.store.transaction import Store, Transaction
from mythjobs.store.writes import counters

# Checkpoints are ours (the writing connection alone makes them), so that a turn decides when.
CHECKPOINT_BYTES: Final = 16 * 2**20
RESERVE_BYTES: Final = 8 * 2**20
_PIECE_BYTES: Final = 2**20

_FAILED: Final = frozenset((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
# The index of the write-ahead log could not grow: a full disk, told as an I/O error.
_IOERR_SHMSIZE: Final = sqlite3.SQLITE_IOERR | 19 << 8


class SqliteStore(Store):
    """`unsafe` takes a network or FUSE file system; the sizes are smaller in tests only."""

    def __init__(
        self,
        path: Path,
        *,
        unsafe: bool = False,
        reserve_bytes: int = RESERVE_BYTES,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
    ) -> None:
        """Raises ConfigError, StateNotWritable, StoreFailed."""
        kind = "" if unsafe else find_network_file_system(path.parent)
        if kind:
            raise ConfigError(
                f"{path} would be on a {kind} file system, where SQLite is not safe; "
                "name a --state-dir on a disk of this machine"
            )
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._reserve = DiskReserve(Path(f"{path}-reserve"), reserve_bytes)
        self._checkpoint_bytes = checkpoint_bytes
        self._full = False
        self._broken: StoreFailed | None = None
        self._log_bytes = 0  # after the last turn
        self._next_bytes = checkpoint_bytes
        self._dialect = sqlite_dialect.dialect()
        self._readers: list[sqlite3.Connection] = []  # idle; list operations are atomic
        self._writer = self._open_writer()
        self._identity = self._identity_now()
        self._full = not self._reserve.allocate()

    def _open_writer(self) -> sqlite3.Connection:
        unclean = self._wal_bytes() > 0
        if unclean:
            self._write_log_again()
        try:
            return self._connected(unclean)
        except sqlite3.Error as error:
            if not (_is_full(error) and self._reserve.release()):
                raise _said(error, self._path) from error
        try:
            return self._connected(unclean)
        except sqlite3.Error as error:
            raise _said(error, self._path) from error

    def _connected(self, unclean: bool) -> sqlite3.Connection:
        writer = _connect(self._path)
        try:
            if unclean:
                self._look_at(writer)
            engine = create_engine(
                "sqlite://", poolclass=NullPool, creator=lambda: _connect(self._path)
            )
            migrate(engine)
        except DBAPIError as error:
            writer.close()
            raise error.orig or error from error
        except BaseException:
            writer.close()
            raise
        return writer

    def _write_log_again(self) -> None:
        """After an fsync that failed the page cache may hold of the log what the disk does not,
        and calls it written (fsync(2)). What is built on that would be lost with it, so it is
        written once more, in its place, and made durable. Raises StoreFailed."""
        try:
            with open(self._wal, "r+b", buffering=0) as log:
                while data := log.read(_PIECE_BYTES):
                    log.seek(-len(data), os.SEEK_CUR)
                    left = memoryview(data)
                    while left:
                        left = left[log.write(left) :]
                os.fsync(log.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFailed(f"{self._wal} cannot be written: {error.strerror}") from error

    def _look_at(self, writer: sqlite3.Connection) -> None:
        """The last master did not end by itself. What it committed is in the log; that the file
        bears it is looked at before anything is built on it."""
        [found] = writer.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(self._path, found.splitlines()[-1])

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self._broken is not None:
            raise self._broken
        writer = self._writer
        tx = Transaction(writer.cursor(), self._dialect)
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield tx
            tx.completed_batches = counters.write_changes(tx)
            writer.execute("COMMIT")
            # Now, and not in checkpoint(): a thread that hands on what it has committed and then
            # calls the system competes for the interpreter with the one that it has woken.
            self._log_bytes = self._wal_bytes()
            self._look_that_it_is_there()
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                self._take_in(error)
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    def _look_that_it_is_there(self) -> None:
        """A file that somebody deleted takes all that is written, and loses it with us."""
        if self._identity_now() != self._identity:
            self._broken = StoreFailed(
                f"the store {self._path} was deleted or replaced while it was in use; nothing of "
                "the last turn was acknowledged. `mythjobs restore FILE` puts a backup in its place"
            )
            raise self._broken

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self._path)
        except OSError:
            return None
        return there.st_dev, there.st_ino

    def _take_in(self, error: sqlite3.Error) -> None:
        """Raises StoreFull or StoreFailed if the disk is what failed."""
        if _is_full(error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._full = True
            self._reserve.release()
            raise StoreFull(
                f"the disk of the store {self._path} is full; what runs is finished, "
                "but nothing new is taken until there is room"
            ) from error
        if _code(error) & 0xFF in _FAILED:
            # What is on the disk now is not known; nothing is written there any more.
            said = _said(error, self._path)
            self._broken = said if isinstance(said, StoreFailed) else None
            raise said from error

    def has_free_space(self) -> bool:
        if self._full:
            self._full = not self._reserve.allocate()
        return not self._full

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        connection = self._readers.pop() if self._readers else _reader(self._path)
        connection.execute("BEGIN")
        try:
            yield Transaction(connection.cursor(), self._dialect)
        except sqlite3.Error as error:
            if _code(error) & 0xFF in _FAILED:
                raise _said(error, self._path) from error
            raise
        finally:
            connection.execute("ROLLBACK")
            self._readers.append(connection)

    def checkpoint(self, *, least_bytes: int | None = None) -> None:
        """Moves the write-ahead log into the file, if it has grown to `least_bytes` (16 MiB).

        Raises StoreFailed. A full disk only puts it off: the log has what was acknowledged.
        """
        size = self._log_bytes
        if size < (self._next_bytes if least_bytes is None else least_bytes):
            return
        if self._broken is not None:
            return
        try:
            _, pages, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            try:
                self._take_in(error)
            except StoreFull:
                return
            raise
        # What somebody still reads stays in the log, which grows until he is done.
        whole = pages == moved
        self._next_bytes = self._checkpoint_bytes if whole else size + self._checkpoint_bytes // 4

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        if self._broken is None:
            try:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                if not _is_full(error):
                    raise _said(error, self._path) from error
        self._writer.close()


def _reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            # A log that was moved is begun again and cut to what is in it: its size says whether
            # there is anything to move. Else every turn would move its few pages, and sync both.
            "journal_size_limit = 0",
            "foreign_keys = OFF",
            "temp_store = MEMORY",
            "cache_size = -8000",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _code(error: sqlite3.Error) -> int:
    code: Any = getattr(error, "sqlite_errorcode", None)
    return int(code) if code is not None else 0


def _is_full(error: sqlite3.Error) -> bool:
    return _code(error) & 0xFF == sqlite3.SQLITE_FULL or _code(error) == _IOERR_SHMSIZE


def _damaged(path: Path, what: str) -> StoreFailed:
    return StoreFailed(
        f"the store {path} is damaged ({what}); `mythjobs restore FILE` puts a backup in its place"
    )


def _said(
    error: sqlite3.Error, path: Path
) -> StateNotWritable | ConfigError | StoreFailed | StoreFull:
    code = _code(error) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StateNotWritable(
            f"the store {path} cannot be opened for writing ({error}); "
            f"make it writable for user id {os.geteuid()}, or name another --state-dir"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError(f"{path} is not a mythjobs store; move it away and start again")
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(path, str(error))
    if _is_full(error):
        return StoreFull(f"the disk of the store {path} is full; make room, then start again")
    return StoreFailed(
        f"the store {path} failed: {error}; nothing of the last turn was acknowledged. "
        "Look at the disk (or replace it), then start again"
    )
