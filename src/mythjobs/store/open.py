"""Opening of a store: a path names a SQLite file, a URL a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.transaction import Store, redact_password

__all__ = ["Store", "is_url", "open_store", "redact_password"]


def is_url(where: str | Path) -> bool:
    return str(where).startswith(("postgresql://", "postgres://"))


def open_store(where: str | Path, *, unsafe: bool = False) -> Store:
    """Open a store and migrate it to this version's schema.

    unsafe: accept a disk or server that may lose acknowledged data; for tests only.

    Raises ConfigError if a newer version wrote the store or if it would not be durable,
    StateNotWritable, StoreFailed, StoreUnavailable, and AlreadyRunning if another master uses it.
    """
    if is_url(where):
        # Import psycopg only for PostgreSQL, because the import takes 60 ms.
        from mythjobs.store.backends.postgres import PostgresStore

        return PostgresStore(str(where), unsafe=unsafe)
    return SqliteStore(Path(where), unsafe=unsafe)
