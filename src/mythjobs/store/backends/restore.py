"""Restore of a SQLite store from a backup. The replaced store is kept under another name."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from sqlalchemy.dialects import sqlite as sqlite_dialect

from mythjobs.errors import BadRequest, StateNotWritable
from mythjobs.store.backends.backup import copy_store, fsync_path
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import id_recovery

_HEADER: Final = b"SQLite format 3\0"


@contextmanager
def stage_backup(backup: Path, target: Path) -> Iterator[Path]:
    """Yield the path of a checked copy of a backup in the store's directory.

    The copy is deleted at the end of the block, unless install_backup() has installed it.
    Raises BadRequest if the backup is damaged or not a store, StateNotWritable, StoreFull.
    """
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    try:
        part.touch(mode=0o600)
        copy_store(backup, part)
        with closing(sqlite3.connect(part)) as connection:
            _check_backup(connection, backup)
        yield part
    except OSError as error:
        raise StateNotWritable(f"cannot write {target.parent}: {error.strerror}") from error
    finally:
        _remove(part)


def _check_backup(connection: sqlite3.Connection, backup: Path) -> None:
    [result] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise BadRequest(f"{backup} is damaged ({result.splitlines()[-1]})")
    tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
    if not tables.fetchone()[0]:
        raise BadRequest(f"{backup} is not a backup of a mythjobs store")


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-reserve"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)


@contextmanager
def open_replaced_store(target: Path) -> Iterator[id_recovery.RestoredIds | None]:
    """Yield the ids issued by the store that a restore replaces, or None if they are unknown.

    The ids are unknown if the store cannot be read, or has a write-ahead log because it was not
    closed cleanly: SQLite reads a damaged log only up to the damage, without an error.
    """
    ids, connection = None, None
    try:
        if _is_cleanly_closed(target):
            connection = sqlite3.connect(target, isolation_level=None)
            tx = Transaction(connection.cursor(), sqlite_dialect.dialect())
            ids = id_recovery.read_restored_ids(tx)
    except sqlite3.Error:
        ids = None
    try:
        yield ids
    finally:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _is_cleanly_closed(target: Path) -> bool:
    """Return whether a file is a SQLite database without a write-ahead log.

    The check does not use SQLite, which deletes a log beside a file that is not a database.
    """
    log = Path(f"{target}-wal")
    if log.exists() and log.stat().st_size:
        return False
    try:
        with target.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def install_backup(part: Path, target: Path, aside: Path) -> bool:
    """Replace the store by the staged backup; return whether there was a store before.

    The old store's files are first linked under the name `aside`, so that a crash at any time
    leaves either the old store or the new one. Raises StateNotWritable.
    """
    try:
        fsync_path(part)
        existed = target.exists()
        for suffix in ("", "-wal"):
            if Path(f"{target}{suffix}").exists():
                os.link(f"{target}{suffix}", f"{aside}{suffix}")
        fsync_path(target.parent)
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        os.replace(part, target)
        fsync_path(target.parent)
    except OSError as error:
        raise StateNotWritable(f"cannot write {target.parent}: {error.strerror}") from error
    return existed
