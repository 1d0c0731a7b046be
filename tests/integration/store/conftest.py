"""Fixtures: an empty store, once in a SQLite file and once in a PostgreSQL database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.store.open import Store, open_store
from tests.support import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.PostgresServer]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.run_server(binaries) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(path, unsafe=True).close()
    return path


@pytest.fixture(scope="session")
def migrated_database(server: postgres.PostgresServer) -> str:
    url = server.create_database()
    open_store(url, unsafe=True).close()
    return url.removeprefix("postgresql:///").partition("?")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the path or URL of an empty store, of each kind in turn.

    Each store is a copy of a migrated one, because migrations take most of the time.
    """
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return str(path)
    server: postgres.PostgresServer = request.getfixturevalue("server")
    return server.create_database(template=request.getfixturevalue("migrated_database"))


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    opened = open_store(where, unsafe=True)
    yield opened
    opened.close()
