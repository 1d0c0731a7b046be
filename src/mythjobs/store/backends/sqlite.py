"""SQLite store: one connection writes and checkpoints, all other connections only read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import FromClause, create_engine
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mythjobs.errors import ConfigError, StateNotWritable, StoreFailed, StoreFull
from mythjobs.store.backends.disk import (
    RESERVE_BYTES,
    DiskReserve,
    find_network_file_system,
    make_private,
)
from mythjobs.store.backends.wal import WriteAheadLog
from mythjobs.store.migrate import migrate
from mythjobs.store.transaction import Store, Transaction
from mythjobs.store.writes import counters

# Size of the write-ahead log from which a checkpoint follows a transaction. Only the writing
# connection runs checkpoints.
CHECKPOINT_BYTES: Final = 16 * 2**20
_MAX_LOG_BYTES: Final = 2 * CHECKPOINT_BYTES
# Instructions of SQLite's virtual machine, some milliseconds, after which a statement of a long
# snapshot looks whether it was interrupted.
_CHECK_INSTRUCTIONS: Final = 200_000
# Time for which close() waits for a reader before it leaves the content of the log where it is.
_CLOSE_WAIT_MS: Final = 500

_FATAL_CODES: Final = frozenset(
    (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
)
# Error code if the WAL index file cannot grow: SQLite reports this kind of full disk as an I/O
# error.
_IOERR_SHMSIZE: Final = sqlite3.SQLITE_IOERR | 19 << 8


class _Compiler(SQLiteCompiler):
    """SQL compiler that writes hints (INDEXED BY) after the table's name, as SQLite requires."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


class SqliteStore(Store):
    """Store in a SQLite database file.

    unsafe: accept a network or FUSE file system. Only tests set it, or sizes other than the
    defaults.
    """

    def __init__(
        self,
        path: Path,
        *,
        unsafe: bool = False,
        reserve_bytes: int = RESERVE_BYTES,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
    ) -> None:
        """Open and migrate the database. Raises ConfigError, StateNotWritable, StoreFailed."""
        kind = "" if unsafe else find_network_file_system(path.parent)
        if kind:
            raise ConfigError(
                f"the store {path} is on a {kind} file system, where SQLite is not safe; "
                "name a --state-dir on a local disk"
            )
        self._path = path
        self._wal = WriteAheadLog(path, checkpoint_bytes)
        self._reserve = DiskReserve(Path(f"{path}-reserve"), reserve_bytes)
        self._checkpoint_bytes = checkpoint_bytes
        self._is_full = False
        self._failure: StoreFailed | None = None
        self._wal_bytes = 0  # used part of the write-ahead log after the last transaction
        self._next_checkpoint_bytes = checkpoint_bytes
        self._dialect = SQLiteDialect(paramstyle="qmark")
        self._dialect.statement_compiler = _Compiler
        self._readers: list[sqlite3.Connection] = []  # idle; append and pop are atomic
        self._is_interrupted = False
        self._writer = self._open_writer()
        self._file_id = self._read_file_id()
        self._is_full = not self._reserve.allocate()

    def _open_writer(self) -> sqlite3.Connection:
        make_private(self._path)
        has_wal = self._wal.read_file_bytes() > 0
        if has_wal:
            self._wal.rewrite()
        try:
            return self._connect_and_migrate(has_wal)
        except sqlite3.Error as error:
            if not (_is_disk_full(error) and self._reserve.release()):
                raise _to_store_error(error, self._path) from error
        try:
            return self._connect_and_migrate(has_wal)
        except sqlite3.Error as error:
            raise _to_store_error(error, self._path) from error

    def _connect_and_migrate(self, has_wal: bool) -> sqlite3.Connection:
        writer = _connect(self._path)
        try:
            if has_wal:
                self._check_database(writer)
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

    def _check_database(self, writer: sqlite3.Connection) -> None:
        """Check the database for damage after the master crashed. Raises StoreFailed if damaged."""
        [result] = writer.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise _damaged(self._path, result.splitlines()[-1])

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self._failure is not None:
            raise self._failure
        writer = self._writer
        tx = Transaction(writer.cursor(), self._dialect)
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield tx
            tx.completed_batches += counters.write_changes(tx)
            writer.execute("COMMIT")
            # Read the log's size for checkpoint() here. When checkpoint() runs, the event loop's
            # thread is awake, and a system call there hands it the interpreter lock for a while.
            self._wal_bytes = self._wal.read_used_bytes()
            self._check_file_id()
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                self._raise_if_disk_error(error)
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    def _check_file_id(self) -> None:
        """Raise StoreFailed if the database file was deleted: what SQLite writes then is lost."""
        if self._read_file_id() != self._file_id:
            self._failure = StoreFailed(
                f"the store {self._path} was deleted or replaced while in use; nothing of the last "
                "transaction was acknowledged. Restore a backup with `mythjobs restore FILE`"
            )
            raise self._failure

    def _read_file_id(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _raise_if_disk_error(self, error: sqlite3.Error) -> None:
        """Raise StoreFull or StoreFailed if a SQLite error means a full or failed disk."""
        if _is_disk_full(error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._is_full = True
            self._reserve.release()
            raise StoreFull(
                f"the disk of the store {self._path} is full; running jobs are finished, but "
                "requests that need space are refused until some is freed"
            ) from error
        if _code(error) & 0xFF in _FATAL_CODES:
            # The content of the disk is unknown now, so write nothing any more.
            store_error = _to_store_error(error, self._path)
            self._failure = store_error if isinstance(store_error, StoreFailed) else None
            raise store_error from error

    def has_free_space(self) -> bool:
        if self._is_full:
            self._is_full = not self._reserve.allocate()
        return not self._is_full

    def describe_full_disk(self) -> str:
        if not self._is_full:
            return ""
        free = f"{2 * RESERVE_BYTES >> 20} MiB"
        return f"the disk of the store {self._path} is full: {free} must be free"

    @contextmanager
    def snapshot(self, *, long: bool = False) -> Iterator[Transaction]:
        connection = self._readers.pop() if self._readers else _open_reader(self._path)
        connection.execute("BEGIN")
        if long:
            # interrupt() of a connection would end only a statement that runs just then.
            connection.set_progress_handler(lambda: self._is_interrupted, _CHECK_INSTRUCTIONS)
        try:
            yield Transaction(connection.cursor(), self._dialect)
        except sqlite3.Error as error:
            if _code(error) & 0xFF in _FATAL_CODES:
                raise _to_store_error(error, self._path) from error
            raise
        finally:
            connection.set_progress_handler(None, 0)
            connection.execute("ROLLBACK")
            if self._is_interrupted:
                connection.close()
            else:
                self._readers.append(connection)

    def interrupt_long_snapshots(self) -> None:
        self._is_interrupted = True

    def checkpoint(self, *, least_bytes: int | None = None) -> None:
        """Move the write-ahead log into the database if it has at least `least_bytes` (16 MiB).

        A full disk only delays the checkpoint, because the log keeps all acknowledged data. Raises
        StoreFailed.
        """
        wal_bytes = self._wal_bytes
        if wal_bytes < (self._next_checkpoint_bytes if least_bytes is None else least_bytes):
            self._extend_wal(wal_bytes)
            return
        if self._failure is not None:
            return
        try:
            _, pages, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            try:
                self._raise_if_disk_error(error)
            except StoreFull:
                return
            raise
        # If pages stay in the log because a reader still needs them, let the log grow by a
        # quarter of the threshold before the next checkpoint.
        self._next_checkpoint_bytes = self._checkpoint_bytes
        if pages != moved:
            self._next_checkpoint_bytes = wal_bytes + self._checkpoint_bytes // 4

    def _extend_wal(self, used_bytes: int) -> None:
        if self._is_full or self._failure is not None:
            return
        try:
            self._wal.extend(used_bytes)
        except StoreFailed as error:
            self._failure = error
            raise

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        if self._failure is None:
            try:
                self._writer.execute(f"PRAGMA busy_timeout = {_CLOSE_WAIT_MS}")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                if not _is_disk_full(error):
                    raise _to_store_error(error, self._path) from error
        self._writer.close()
        self._wal.close_index()


def _open_reader(path: Path) -> sqlite3.Connection:
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
            # After a checkpoint the log is overwritten from its beginning, which syncs faster than
            # a file that grows. Truncate it only if a long query has made it this large.
            f"journal_size_limit = {_MAX_LOG_BYTES}",
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


def _is_disk_full(error: sqlite3.Error) -> bool:
    return _code(error) & 0xFF == sqlite3.SQLITE_FULL or _code(error) == _IOERR_SHMSIZE


def _damaged(path: Path, what: str) -> StoreFailed:
    return StoreFailed(
        f"the store {path} is damaged ({what}); restore a backup with `mythjobs restore FILE`"
    )


def _to_store_error(
    error: sqlite3.Error, path: Path
) -> StateNotWritable | ConfigError | StoreFailed | StoreFull:
    code = _code(error) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StateNotWritable(
            f"cannot open the store {path} for writing ({error}); "
            f"make it writable for user id {os.geteuid()}, or name another --state-dir"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError(
            f"{path} is not a mythjobs store; move the file away, then start the master again"
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(path, str(error))
    if _is_disk_full(error):
        return StoreFull(
            f"the disk of the store {path} is full; free space, then start the master again"
        )
    return StoreFailed(
        f"the store {path} failed: {error}; nothing of the last transaction was acknowledged. "
        "Check or replace the disk, then start the master again"
    )
