"""Opens the store's file: one connection that writes, others that only read; and migrates it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.pool import NullPool

from mythjobs.errors import ConfigError, StateNotWritable, StoreFailed
from mythjobs.store import totals
from mythjobs.store.migrate import migrate
from mythjobs.store.statement import Transaction

# Checkpoints are ours (the writing connection alone makes them), so that a turn decides when.
_CHECKPOINT_BYTES: Final = 16 * 2**20

_DISK_FULL_OR_FAILED: Final = frozenset(
    (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
)


class Store:
    """A SQLite file. `turn()` is for the one thread that writes, `reading()` for any other."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a store of a newer version, StateNotWritable, StoreFailed."""
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._dialect = sqlite_dialect.dialect()
        self._readers: list[sqlite3.Connection] = []  # idle; list operations are atomic
        self._engine = create_engine(
            f"sqlite:///{path}", poolclass=NullPool, creator=lambda: _connect(path)
        )
        try:
            migrate(self._engine)
            self._writer = _connect(path)
        except sqlite3.Error as error:
            raise _said(error, path) from error

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def turn(self) -> Iterator[Transaction]:
        """One transaction on the writing connection: committed at the end, durable after it.

        Any exception rolls all of it back. Raises StoreFailed if the disk failed; nothing may
        be acknowledged then.
        """
        writer = self._writer
        tx = Transaction(writer.cursor(), self._dialect)
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield tx
            tx.completed = totals.write(tx)
            writer.execute("COMMIT")
        except BaseException as error:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _disk_failed(error):
                raise _said(error, self._path) from error
            raise

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A snapshot for lists and pages, on a connection of its own that cannot write."""
        connection = self._readers.pop() if self._readers else _reader(self._path)
        connection.execute("BEGIN")
        try:
            yield Transaction(connection.cursor(), self._dialect)
        finally:
            connection.execute("ROLLBACK")
            self._readers.append(connection)

    def checkpoint(self, *, least_bytes: int = _CHECKPOINT_BYTES) -> None:
        """Moves the write-ahead log into the file, if it has grown to `least_bytes`."""
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size < least_bytes:
            return
        _, pages, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages == moved and size >= 4 * _CHECKPOINT_BYTES:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()
        self._engine.dispose()


def _reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        "foreign_keys = OFF",
        "temp_store = MEMORY",
        "cache_size = -8000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _disk_failed(error: sqlite3.Error) -> bool:
    code: Any = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _DISK_FULL_OR_FAILED


def _said(error: sqlite3.Error, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StateNotWritable(
            f"the store {path} cannot be opened for writing ({error}); "
            f"make it writable for user id {os.geteuid()}, or name another --state-dir"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError(f"{path} is not a mythjobs store; move it away and start again")
    return StoreFailed(
        f"the store {path} failed: {error}; nothing of the last turn was acknowledged. "
        "Make room on the disk or replace it, then start again"
    )
