"""A copy of a SQLite store while it is in use: whole, of one instant, and on the disk."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from mythjobs.errors import BadRequest, StateNotWritable, StoreFull
from mythjobs.store.open import is_url


def back_up(where: str | Path, target: Path) -> int:
    """Writes the store as it is now to a new file; answers its size in bytes.

    It reads on a connection of its own and keeps nobody waiting. When this returns the copy is
    durable; before, the file is not there. Raises BadRequest, StateNotWritable, StoreFull.
    """
    if is_url(where):
        raise BadRequest("a store in PostgreSQL is backed up with pg_dump, which comes with it")
    if target.exists():
        raise BadRequest(f"{target} is there already; name a new file")
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # arguments of jobs are nobody else's to read
        copy_store(Path(where), part)
        fsync_path(part)
        os.link(part, target)  # unlike a rename, never over what came there meanwhile
        part.unlink()
        fsync_path(target.parent)
    except FileExistsError:
        raise BadRequest(f"{target} is there already; name a new file") from None
    except OSError as error:
        raise StateNotWritable(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def copy_store(source: Path, part: Path) -> None:
    """Writes all that is committed in a store into an empty file. Raises BadRequest if there is
    none or it is none, StoreFull, StateNotWritable."""
    if not source.exists():
        raise BadRequest(f"there is no store {source}")
    connection = sqlite3.connect(source, timeout=10, isolation_level=None)
    try:
        # It writes into the copy alone: checkpoints stay the master's.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("VACUUM INTO ?", (str(part),))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull(f"there is no room for {part.parent}; the copy was not made") from error
        raise StateNotWritable(f"{part.parent} cannot take the copy: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BadRequest(f"{source} is no store, or is damaged ({error})") from error
    finally:
        connection.close()


def fsync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
