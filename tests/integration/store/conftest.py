"""A store with nothing in it: once in a SQLite file, once in a PostgreSQL database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.store.open import Store, open_store
from tests.support import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """One for all tests of the session."""
    binaries = postgres.programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.server(binaries) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(path, unsafe=True).close()
    return path


@pytest.fixture(scope="session")
def migrated_database(server: postgres.Server) -> str:
    url = server.database()
    open_store(url, unsafe=True).close()
    return url.removeprefix("postgresql:///").partition("?")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is, each kind in turn: a path, or the URL of a database.

    Migrations are most of what a store costs at its first start, so they run once.
    """
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return str(path)
    server: postgres.Server = request.getfixturevalue("server")
    return server.database(like=request.getfixturevalue("migrated_database"))


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    opened = open_store(where, unsafe=True)
    yield opened
    opened.close()
