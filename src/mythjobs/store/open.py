"""Opens a store where it is: a path is a SQLite file, a URL a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.transaction import Store, redact_password

__all__ = ["Store", "is_url", "open_store", "redact_password"]


def is_url(where: str | Path) -> bool:
    return str(where).startswith(("postgresql://", "postgres://"))


def open_store(where: str | Path, *, unsafe: bool = False) -> Store:
    """`unsafe` takes a disk or a server that may lose what was acknowledged: for tests.

    Raises ConfigError for a store of a newer version or one that would not be durable,
    StateNotWritable, StoreFailed, StoreAway, and Taken if another master has it.
    """
    if is_url(where):
        # psycopg costs 60 ms at a start, which most do without.
        from mythjobs.store.backends.postgres import PostgresStore

        return PostgresStore(str(where), unsafe=unsafe)
    return SqliteStore(Path(where), unsafe=unsafe)
