"""A backup put in the place of a SQLite store; what stood there is kept beside it."""

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
    """A copy of the backup in the directory of the store, which is gone afterwards if it was not
    put in place. Raises BadRequest if that is no sound store, StateNotWritable, StoreFull."""
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    try:
        part.touch(mode=0o600)
        copy_store(backup, part)
        with closing(sqlite3.connect(part)) as connection:
            _look_at(connection, backup)
        yield part
    except OSError as error:
        raise StateNotWritable(f"{target.parent} cannot be written: {error.strerror}") from error
    finally:
        _remove(part)


def _look_at(connection: sqlite3.Connection, backup: Path) -> None:
    [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BadRequest(f"{backup} is damaged ({found.splitlines()[-1]})")
    tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
    if not tables.fetchone()[0]:
        raise BadRequest(f"{backup} is not a backup of a mythjobs store")


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-reserve"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)


@contextmanager
def open_replaced_store(target: Path) -> Iterator[id_recovery.RestoredIds | None]:
    """The store that is there now; None if it cannot be read, or has a log: it did not end by
    itself then, and of a log that was damaged SQLite reads what stands before the damage, as if
    that were all."""
    found, connection = None, None
    try:
        if _is_readable(target):
            connection = sqlite3.connect(target, isolation_level=None)
            found = id_recovery.read_restored_ids(
                Transaction(connection.cursor(), sqlite_dialect.dialect())
            )
    except sqlite3.Error:
        found = None
    try:
        yield found
    finally:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _is_readable(target: Path) -> bool:
    """Looked at by ourselves: of what is no store SQLite deletes the log that lies beside it."""
    log = Path(f"{target}-wal")
    if log.exists() and log.stat().st_size:
        return False
    try:
        with target.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def install_backup(part: Path, target: Path, aside: Path) -> bool:
    """At every instant there is a whole store or the old one: its files get second names first.

    Answers whether something stood there. Raises StateNotWritable.
    """
    try:
        fsync_path(part)
        there = target.exists()
        for suffix in ("", "-wal"):
            if Path(f"{target}{suffix}").exists():
                os.link(f"{target}{suffix}", f"{aside}{suffix}")
        fsync_path(target.parent)
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        os.replace(part, target)
        fsync_path(target.parent)
    except OSError as error:
        raise StateNotWritable(f"{target.parent} cannot be written: {error.strerror}") from error
    return there
