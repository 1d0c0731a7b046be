"""Online backup of a SQLite store: a consistent, durable copy while the store is in use."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from mythjobs.errors import BadRequest, StateNotWritable, StoreFull
from mythjobs.store.open import is_url


def back_up(where: str | Path, target: Path) -> int:
    """Copy the store to a new file; return its size in bytes.

    The copy reads through its own connection and does not block the master. The new file appears
    only when its content is durable.
    Raises BadRequest, StateNotWritable, StoreFull.
    """
    if is_url(where):
        raise BadRequest("a store in PostgreSQL cannot be copied by mythjobs; use pg_dump")
    if target.exists():
        raise BadRequest(f"{target} already exists; name a new file")
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # arguments of jobs are private
        copy_store(Path(where), part)
        fsync_path(part)
        os.link(part, target)  # unlike rename, fails if the target was created meanwhile
        part.unlink()
        fsync_path(target.parent)
    except FileExistsError:
        raise BadRequest(f"{target} already exists; name a new file") from None
    except OSError as error:
        raise StateNotWritable(f"cannot write {target}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def copy_store(source: Path, part: Path) -> None:
    """Write all committed data of a store into an empty file.

    Raises BadRequest if the source is not a store, StateNotWritable, StoreFull.
    """
    if not os.path.exists(source):
        raise BadRequest(f"there is no store {source}")
    if source.is_dir():
        raise BadRequest(f"{source} is a directory; name the file of a store")
    if not os.access(source, os.R_OK):
        raise BadRequest(f"cannot read {source}: Permission denied")
    connection = sqlite3.connect(source, timeout=10, isolation_level=None)
    try:
        # Only the master may checkpoint the store; this connection must write only to the copy.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("VACUUM INTO ?", (str(part),))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull(f"the disk of {part.parent} is full; the copy was not made") from error
        raise StateNotWritable(f"cannot write the copy in {part.parent}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BadRequest(f"{source} is not a store, or is damaged ({error})") from error
    finally:
        connection.close()


def fsync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
